// The core interceptors of Tekton Triggers on an address of the caller's choice. Triggers' own program for them
// listens on port 8443 of every address, and makes its certificate itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/tektoncd/triggers/pkg/interceptors"
	"github.com/tektoncd/triggers/pkg/interceptors/server"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("cert", "", "PEM of the certificate")
	key := flag.String("key", "", "PEM of its private key")
	kubeconfig := flag.String("kubeconfig", "", "who reads the secrets of webhooks")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := server.NewWithCoreInterceptors(interceptors.DefaultSecretGetter(client.CoreV1()), zap.Must(zap.NewProduction()).Sugar())
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	serving := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return context.Background() },
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(serving.ServeTLS(listener, *certificate, *key))
}
