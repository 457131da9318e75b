// Command kafka serves Kafka's protocol from memory: one broker, its topic made at the start, with TLS and SASL
// where it is asked to. It stands in for a broker, which needs a Java machine.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	topic := flag.String("topic", "evidence", "topic to make")
	cert := flag.String("cert", "", "certificate; TLS with it")
	key := flag.String("key", "", "its private key")
	clients := flag.String("clients", "", "CA of clients' certificates, which are asked for with it")
	mechanism := flag.String("mechanism", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; logins with it")
	user := flag.String("user", "", "who may log in")
	password := flag.String("password", "", "with what")
	flag.Parse()

	options := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, *topic)}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		if *clients != "" {
			pem, err := os.ReadFile(*clients)
			if err != nil {
				log.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			config.ClientAuth = tls.RequireAnyClientCert
			// the tests' certificates are for servers: any usage will do
			config.VerifyConnection = func(state tls.ConnectionState) error {
				usages := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
				_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages})
				return err
			}
		}
		options = append(options, kfake.TLS(config))
	}
	if *mechanism != "" {
		options = append(options, kfake.EnableSASL(), kfake.Superuser(*mechanism, *user, *password))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	fmt.Println(cluster.ListenAddrs()[0]) // the one line on stdout: where to connect
	select {}
}
