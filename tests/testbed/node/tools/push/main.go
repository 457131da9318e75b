// Command push is what steps of the tests build and push images with, and look at their network with.
//
//	push build IMAGE DIR [BASE]     BASE, or nothing, and one layer with the files of DIR, into the registry
//	push pack IMAGE DIR LAYOUT      the files alone, into an OCI image layout; needs no network
//	push send IMAGE LAYOUT          what pack made, into the registry
//	push digest IMAGE               what the registry has under a name
//	push get URL                    the status of an HTTP answer
//	push dial HOST:PORT             what a TCP server says
//	push resolve NAME               the addresses of a name, by DNS over UDP
//	push listen HOST:PORT FILE      what somebody says who connects before the file is there
//
// -url FILE and -digest FILE, before all that, write the image's name and digest there, as Tekton's type hints ask.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const answerSeconds = 3 * time.Second

var errUsage = errors.New("expected a command with its arguments")

// results are the files in which a step tells Tekton what it built.
type results struct{ url, digest string }

func main() {
	log.SetFlags(0)
	var told results
	flag.StringVar(&told.url, "url", "", "file for the image's name")
	flag.StringVar(&told.digest, "digest", "", "file for the image's digest")
	flag.Parse()
	if err := run(flag.Args(), told); err != nil {
		log.Fatal("error: ", err)
	}
}

func run(args []string, told results) error {
	if len(args) < 2 {
		return errUsage
	}
	command, image, rest := args[0], args[1], args[2:]
	switch {
	case command == "build" && (len(rest) == 1 || len(rest) == 2):
		return build(image, rest, told)
	case command == "pack" && len(rest) == 2:
		return pack(image, rest[0], rest[1], told)
	case command == "send" && len(rest) == 1:
		return send(image, rest[0], told)
	case command == "digest" && len(rest) == 0:
		digest, err := crane.Digest(image, crane.Insecure)
		fmt.Println(digest)
		return err
	case command == "get" && len(rest) == 0:
		return get(image)
	case command == "dial" && len(rest) == 0:
		return dial(image)
	case command == "resolve" && len(rest) == 0:
		return resolve(image)
	case command == "listen" && len(rest) == 1:
		return listen(image, rest[0])
	}
	return errUsage
}

func build(name string, rest []string, told results) error {
	base := empty.Image
	if len(rest) == 2 {
		var err error
		if base, err = crane.Pull(rest[1], crane.Insecure); err != nil {
			return err
		}
	}
	image, err := withFiles(base, rest[0])
	if err != nil {
		return err
	}
	if err := crane.Push(image, name, crane.Insecure); err != nil {
		return err
	}
	return tell(name, image, told)
}

func pack(name, dir, into string, told results) error {
	image, err := withFiles(empty.Image, dir)
	if err != nil {
		return err
	}
	made, err := layout.Write(into, empty.Index)
	if err != nil {
		return err
	}
	if err := made.AppendImage(image); err != nil {
		return err
	}
	return tell(name, image, told)
}

func send(name, from string, told results) error {
	index, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	if err := crane.Push(image, name, crane.Insecure); err != nil {
		return err
	}
	return tell(name, image, told)
}

func get(url string) error {
	client := http.Client{Timeout: answerSeconds}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
	return nil
}

func dial(address string) error {
	connection, err := net.DialTimeout("tcp", address, answerSeconds)
	if err != nil {
		return err
	}
	defer connection.Close()
	return hear(connection)
}

func resolve(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerSeconds)
	defer cancel()
	addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	fmt.Println(addresses)
	return err
}

// listen ends with an error when the file is there and nobody has connected.
func listen(address, file string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		for {
			if _, err := os.Stat(file); err == nil {
				listener.Close()
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	fmt.Println("listening")
	connection, err := listener.Accept()
	if err != nil {
		return err
	}
	defer connection.Close()
	return hear(connection)
}

func hear(connection net.Conn) error {
	if err := connection.SetDeadline(time.Now().Add(answerSeconds)); err != nil {
		return err
	}
	said, err := io.ReadAll(connection)
	fmt.Println(string(said))
	return err
}

// withFiles adds a layer with the regular files of a folder.
func withFiles(base v1.Image, dir string) (v1.Image, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		header := tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}
		if err := writer.WriteHeader(&header); err != nil {
			return err
		}
		_, err = writer.Write(data)
		return err
	}); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, layer)
}

func tell(name string, image v1.Image, told results) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(name, digest)
	for file, text := range map[string]string{told.url: name, told.digest: digest.String()} {
		if file == "" {
			continue
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
