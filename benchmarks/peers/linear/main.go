// Command linear serves endpoints over xDS from go-control-plane's LinearCache, one of which changes again and again.
//
// It is the peer of benchmarks/fanout_server.py and speaks the same protocol on its standard streams: it prints its
// address, and then obeys "go" (begin to change), "stop" and the end of its input.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	endpoints := flag.Int("endpoints", 10, "endpoints of each service")
	services := flag.Int("services", 1, "how many services there are; the first one changes")
	interval := flag.Duration("interval", 20*time.Millisecond, "time between two changes")
	certificate := flag.String("certificate", "", "PEM file with certificate and key; without it, plaintext")
	flag.Parse()

	linear := cache.NewLinearCache(resource.EndpointType)
	for number := range *services {
		name := serviceName(number)
		if err := linear.UpdateResource(name, assignment(name, *endpoints)); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.MaxConcurrentStreams(math.MaxUint32)}
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *certificate)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	}
	grpcServer := grpc.NewServer(options...)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), linear, nil))
	fmt.Println(listener.Addr())
	go obey(linear, *endpoints, *interval)
	log.Fatal(grpcServer.Serve(listener))
}

// obey changes the first service between "go" and "stop", and exits at the end of the input.
func obey(linear *cache.LinearCache, endpoints int, interval time.Duration) {
	lines := make(chan string)
	go func() {
		scanner := bufio.NewScanner(os.Stdin)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		close(lines)
	}()
	changing := false
	ticker := time.NewTicker(interval)
	for {
		select {
		case line, open := <-lines:
			if !open {
				os.Exit(0)
			}
			changing = line == "go"
			if !changing {
				fmt.Println("stopped")
			}
		case <-ticker.C:
			if changing {
				name := serviceName(0)
				if err := linear.UpdateResource(name, assignment(name, endpoints)); err != nil {
					log.Fatal(err)
				}
			}
		}
	}
}

func serviceName(number int) string {
	return fmt.Sprintf("outbound|80||service-%d.bench.svc.clusterset.local", number)
}

// assignment gives the service's endpoints; the weight of the first one is the time in microseconds.
func assignment(name string, endpoints int) types.Resource {
	group := &endpoint.LocalityLbEndpoints{
		Locality:            &core.Locality{Region: "region", Zone: "zone", SubZone: "a"},
		LoadBalancingWeight: wrapperspb.UInt32(uint32(endpoints)),
	}
	for number := range endpoints {
		weight := uint32(1)
		if number == 0 {
			weight = uint32(time.Now().UnixMicro())%(1<<30) + 1
		}
		group.LbEndpoints = append(group.LbEndpoints, &endpoint.LbEndpoint{
			HealthStatus:        core.HealthStatus_HEALTHY,
			LoadBalancingWeight: wrapperspb.UInt32(weight),
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
					Address:       fmt.Sprintf("198.18.%d.%d", number/250, number%250),
					PortSpecifier: &core.SocketAddress_PortValue{PortValue: 8080},
				}}},
			}},
		})
	}
	return &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{group}}
}
