// Command grpc_go calls /echo.Echo/Say on the target given, again and again, with grpc-go's own xDS client.
//
// Each line of output is one call as JSON: {"name": who answered} or {"error": what failed}. It goes on until its
// standard input is closed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

const (
	callTime = 10 * time.Second
	pause    = 5 * time.Millisecond
)

// raw is a codec that takes messages as bytes.
type raw struct{}

func (raw) Name() string                      { return "proto" }
func (raw) Marshal(value any) ([]byte, error) { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, to any) error {
	*to.(*[]byte) = append([]byte(nil), data...)
	return nil
}

var _ encoding.Codec = raw{}

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := json.NewEncoder(os.Stdout)
	for first := true; ; first = false {
		_ = lines.Encode(call(connection, first))
		time.Sleep(pause)
	}
}

// call makes one call; only the first waits until there is a list, and from then on a call that finds nobody fails.
func call(connection *grpc.ClientConn, wait bool) map[string]string {
	bounded, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	var request, name []byte
	err := connection.Invoke(bounded, "/echo.Echo/Say", &request, &name, grpc.ForceCodec(raw{}), grpc.WaitForReady(wait))
	if err != nil {
		failed := status.Convert(err)
		return map[string]string{"error": fmt.Sprintf("%s %s", failed.Code(), failed.Message())}
	}
	return map[string]string{"name": string(name)}
}
