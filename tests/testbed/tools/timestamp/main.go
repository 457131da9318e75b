// Command timestamp serves sigstore's RFC 3161 timestamp authority.
//
// It is the authority's own server without its metrics, which always take port 2112: two test sessions on one
// machine could not both have one.
package main

import (
	"flag"
	"log"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

const timeout = 30 * time.Second

func main() {
	port := flag.Int("port", 0, "port of 127.0.0.1 to listen on")
	key := flag.String("key", "", "file with the private key")
	chain := flag.String("chain", "", "file with the certificates, the signing one first")
	flag.Parse()

	viper.Set("timestamp-signer", "file")
	viper.Set("timestamp-signer-hash", "sha256")
	viper.Set("file-signer-key-path", *key)
	viper.Set("certificate-chain-path", *chain)
	viper.Set("enforce-intermediate-eku", true)
	viper.Set("default-policy-oid", "1.3.6.1.4.1.57264.2")
	viper.Set("accepted-policy-oids", []string{"1.3.6.1.4.1.57264.2"})
	viper.Set("max-request-body-size", uint64(1<<20))
	authority := server.NewRestAPIServer("127.0.0.1", *port, []string{"http"}, false, timeout, timeout)
	authority.CleanupTimeout = time.Second
	log.Fatal(authority.Serve())
}
