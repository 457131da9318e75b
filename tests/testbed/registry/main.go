// Command registry serves an OCI 1.1 registry from a folder, with or without the referrers API.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	dir := flag.String("dir", "", "folder that keeps the blobs; memory when empty")
	withAPI := flag.Bool("referrers", true, "serve the referrers API")
	quiet := flag.Bool("quiet", false, "log no requests")
	flag.Parse()

	out := io.Writer(os.Stderr)
	if *quiet {
		out = io.Discard
	}
	logger := log.New(out, "", log.LstdFlags)
	options := []registry.Option{
		registry.WithReferrersSupport(*withAPI),
		registry.Logger(logger),
	}
	if *dir != "" {
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			log.Fatal(err)
		}
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(*dir)))
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr()) // the one line on stdout: where to connect
	handler := registry.New(options...)
	if *withAPI {
		handler = withReferrers(handler, logger)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}
