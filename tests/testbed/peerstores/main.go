// Command peerstores is Tekton Chains' own storage backends as a program: it writes what Chains writes, and reads it.
//
// One JSON request on standard input: {"do": "store" or "retrieve", "backend": NAME, "config": ConfigMap's data,
// "run": a TaskRun, "items": [{payload, signature, cert, chain, shortKey, fullKey, format}]}. The answer has what
// "retrieve" found, and for grafeas, whose server is not ours to choose, the requests that were made.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"unsafe"

	pb "github.com/grafeas/grafeas/proto/v1/grafeas_go_proto"
	"github.com/tektoncd/chains/pkg/chains/objects"
	"github.com/tektoncd/chains/pkg/chains/storage/archivista"
	"github.com/tektoncd/chains/pkg/chains/storage/docdb"
	"github.com/tektoncd/chains/pkg/chains/storage/gcs"
	"github.com/tektoncd/chains/pkg/chains/storage/grafeas"
	"github.com/tektoncd/chains/pkg/chains/storage/pubsub"
	"github.com/tektoncd/chains/pkg/config"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"knative.dev/pkg/logging"
)

type item struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
	Cert      string `json:"cert"`
	Chain     string `json:"chain"`
	ShortKey  string `json:"shortKey"`
	FullKey   string `json:"fullKey"`
	Format    string `json:"format"`
}

type request struct {
	Do      string            `json:"do"`
	Backend string            `json:"backend"`
	Config  map[string]string `json:"config"`
	Run     *v1.TaskRun       `json:"run"`
	Items   []item            `json:"items"`
}

type answer struct {
	Payloads   []map[string]string   `json:"payloads,omitempty"`
	Signatures []map[string][][]byte `json:"signatures,omitempty"`
	Requests   []json.RawMessage     `json:"requests,omitempty"`
}

type storer interface {
	StorePayload(context.Context, objects.TektonObject, []byte, string, config.StorageOpts) error
}

type retriever interface {
	RetrievePayloads(context.Context, objects.TektonObject, config.StorageOpts) (map[string]string, error)
	RetrieveSignatures(context.Context, objects.TektonObject, config.StorageOpts) (map[string][]string, error)
}

// recorder is a grafeas client that keeps the requests.
type recorder struct {
	pb.GrafeasClient
	requests []json.RawMessage
}

func (r *recorder) keep(message proto.Message) {
	data, err := protojson.Marshal(message)
	check(err)
	r.requests = append(r.requests, data)
}

func (r *recorder) CreateNote(_ context.Context, in *pb.CreateNoteRequest, _ ...grpc.CallOption) (*pb.Note, error) {
	r.keep(in)
	return in.GetNote(), nil
}

func (r *recorder) CreateOccurrence(_ context.Context, in *pb.CreateOccurrenceRequest, _ ...grpc.CallOption) (*pb.Occurrence, error) {
	r.keep(in)
	return in.GetOccurrence(), nil
}

func set(target any, field string, value any) {
	found := reflect.ValueOf(target).Elem().FieldByName(field)
	reflect.NewAt(found.Type(), unsafe.Pointer(found.UnsafeAddr())).Elem().Set(reflect.ValueOf(value))
}

func open(ctx context.Context, name string, cfg config.Config, recorded *recorder) (storer, error) {
	switch name {
	case gcs.StorageBackendGCS:
		return gcs.NewStorageBackend(ctx, cfg)
	case docdb.StorageTypeDocDB:
		return docdb.NewStorageBackend(ctx, cfg)
	case grafeas.StorageBackendGrafeas:
		backend := &grafeas.Backend{}
		set(backend, "client", recorded)
		set(backend, "cfg", cfg)
		return backend, nil
	case pubsub.StorageBackendPubSub:
		return pubsub.NewStorageBackend(ctx, cfg)
	case archivista.StorageBackendArchivista:
		return archivista.NewStorageBackend(cfg)
	}
	return nil, fmt.Errorf("unknown backend %q", name)
}

func main() {
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	asked := request{}
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	cfg, err := config.NewConfigFromMap(asked.Config)
	check(err)
	recorded := &recorder{}
	backend, err := open(ctx, asked.Backend, *cfg, recorded)
	check(err)
	run := objects.NewTaskRunObjectV1(asked.Run)
	told := answer{}
	for _, one := range asked.Items {
		opts := config.StorageOpts{
			ShortKey: one.ShortKey, FullKey: one.FullKey, Cert: one.Cert, Chain: one.Chain,
			PayloadFormat: config.PayloadType(one.Format),
		}
		if asked.Do == "store" {
			check(backend.StorePayload(ctx, run, one.Payload, string(one.Signature), opts))
			continue
		}
		payloads, err := backend.(retriever).RetrievePayloads(ctx, run, opts)
		check(err)
		signatures, err := backend.(retriever).RetrieveSignatures(ctx, run, opts)
		check(err)
		told.Payloads = append(told.Payloads, payloads)
		shown := map[string][][]byte{}
		for name, several := range signatures {
			for _, signature := range several {
				shown[name] = append(shown[name], []byte(signature))
			}
		}
		told.Signatures = append(told.Signatures, shown)
	}
	told.Requests = recorded.requests
	check(json.NewEncoder(os.Stdout).Encode(told))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
