// Command load holds many delta EDS streams open, one connection each, ACKs every response and tells how it went.
//
// It prints "ready" once every stream has its service, and its report as JSON when it reads a line.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	method       = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	connecting   = 64
)

// raw passes messages through as bytes: the load's own work should not drown what is measured.
type raw struct{}

func (raw) Name() string                          { return "proto" }
func (raw) Marshal(message any) ([]byte, error)   { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, into any) error { *into.(*[]byte) = append([]byte(nil), data...); return nil }

type stream struct {
	service string
	sampled bool
	last    []byte // the last resource
	times   []time.Duration
	ended   error
}

var responses atomic.Int64

func main() {
	server := flag.String("server", "", "HOST:PORT")
	number := flag.Int("streams", 1000, "how many")
	watching := flag.Int("watching", 0, "how many of them subscribe to the service that changes; 0: all")
	services := flag.Int("services", 1, "how many services there are")
	sample := flag.Int("sample", 20, "one in so many streams takes times")
	useTLS := flag.Bool("tls", false, "TLS, whatever the certificate")
	flag.Parse()

	transport := insecure.NewCredentials()
	if *useTLS {
		transport = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	streams := make([]*stream, *number)
	var ready sync.WaitGroup
	slots := make(chan struct{}, connecting)
	for index := range streams {
		service := 0
		if *watching > 0 && index >= *watching {
			service = 1 + index%(*services-1)
		}
		one := &stream{service: fmt.Sprintf("outbound|80||service-%d.bench.svc.clusterset.local", service)}
		one.sampled = service == 0 && index%*sample == 0
		streams[index] = one
		ready.Add(1)
		slots <- struct{}{}
		go one.run(*server, transport, fmt.Sprintf("sidecar~198.19.0.1~client-%d.bench~bench.svc.cluster.local", index), func() {
			<-slots
			ready.Done()
		})
	}
	ready.Wait()
	fmt.Println("ready")
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		if scanner.Text() == "reset" {
			responses.Store(0)
			fmt.Println("reset")
			continue
		}
		report(streams)
	}
}

// run connects, subscribes, and takes and ACKs responses until the stream ends.
func (s *stream) run(server string, transport credentials.TransportCredentials, id string, ready func()) {
	s.ended = s.follow(server, transport, id, sync.OnceFunc(ready))
}

func (s *stream) follow(server string, transport credentials.TransportCredentials, id string, ready func()) error {
	defer ready()
	connection, err := grpc.NewClient(server, grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return err
	}
	opened, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	first := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: id}, TypeUrl: endpointType, ResourceNamesSubscribe: []string{s.service}}
	request, err := proto.Marshal(first)
	if err != nil {
		return err
	}
	if err := opened.SendMsg(&request); err != nil {
		return err
	}
	for {
		var message []byte
		if err := opened.RecvMsg(&message); err != nil {
			return err
		}
		now := time.Now()
		responses.Add(1)
		resource, nonce := parse(message)
		s.last = resource
		if s.sampled {
			if sent := weight(resource); sent > 1 {
				s.times = append(s.times, time.Duration(int64(uint32(now.UnixMicro())%(1<<30)+1)-int64(sent))*time.Microsecond)
			}
		}
		ready()
		ack := protowire.AppendTag(nil, 2, protowire.BytesType)
		ack = protowire.AppendString(ack, endpointType)
		ack = protowire.AppendTag(ack, 6, protowire.BytesType)
		ack = protowire.AppendBytes(ack, nonce)
		if err := opened.SendMsg(&ack); err != nil {
			return err
		}
	}
}

// parse gives the one resource (field 2) and the nonce (field 5) of a DeltaDiscoveryResponse.
func parse(message []byte) (resource, nonce []byte) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		message = message[size:]
		length := protowire.ConsumeFieldValue(number, kind, message)
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			switch number {
			case 2:
				resource = value
			case 5:
				nonce = value
			}
		}
		message = message[length:]
	}
	return resource, nonce
}

// weight of the first endpoint, which is the time it was set at in microseconds.
func weight(resource []byte) uint32 {
	var wrapped discovery.Resource
	var assignment endpoint.ClusterLoadAssignment
	if proto.Unmarshal(resource, &wrapped) != nil || wrapped.Resource.UnmarshalTo(&assignment) != nil {
		return 0
	}
	var highest uint32
	for _, group := range assignment.Endpoints {
		for _, each := range group.LbEndpoints {
			highest = max(highest, each.LoadBalancingWeight.GetValue())
		}
	}
	return highest
}

func report(streams []*stream) {
	var times []time.Duration
	last := map[uint32]int{}
	cancelled := 0
	for _, each := range streams {
		times = append(times, each.times...)
		if each.ended != nil {
			cancelled++
			log.Print(each.ended)
		}
		if each.service == streams[0].service {
			last[weight(each.last)]++
		}
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	at := func(part float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[int(part*float64(len(times)-1))].Microseconds()) / 1000
	}
	behind := 0
	var newest uint32
	for value := range last {
		newest = max(newest, value)
	}
	for value, count := range last {
		if value != newest {
			behind += count
		}
	}
	encoded, err := json.Marshal(map[string]any{
		"responses": responses.Load(), "p50_ms": at(0.5), "p99_ms": at(0.99), "last_ms": at(1), "behind": behind, "cancelled": cancelled,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(encoded))
}
