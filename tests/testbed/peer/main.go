// Command peer prints what Tekton Chains' own formatter gives for a run.
//
//	peer schema            the fields of Tekton's run types, in the order Go writes them
//	peer < requests.jsonl  one answer a line for each request a line
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/tektoncd/chains/pkg/artifacts"
	"github.com/tektoncd/chains/pkg/chains/formats"
	_ "github.com/tektoncd/chains/pkg/chains/formats/all"
	"github.com/tektoncd/chains/pkg/chains/formats/simple"
	"github.com/tektoncd/chains/pkg/chains/objects"
	"github.com/tektoncd/chains/pkg/config"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"knative.dev/pkg/logging"
	kjson "sigs.k8s.io/json"
)

type request struct {
	Run      json.RawMessage   `json:"run"`
	Children []json.RawMessage `json:"children"`
	Format   string            `json:"format"`
	Config   map[string]string `json:"config"`
}

type answer struct {
	Statement json.RawMessage   `json:"statement,omitempty"`
	Images    []json.RawMessage `json:"images,omitempty"`
	Decoded   json.RawMessage   `json:"decoded,omitempty"`
	Error     string            `json:"error,omitempty"`
}

func decode(raw []byte) (objects.TektonObject, error) {
	var kind struct{ Kind string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	switch kind.Kind {
	case "TaskRun":
		run := &v1.TaskRun{}
		return objects.NewTaskRunObjectV1(run), kjson.UnmarshalCaseSensitivePreserveInts(raw, run)
	case "PipelineRun":
		run := &v1.PipelineRun{}
		return objects.NewPipelineRunObjectV1(run), kjson.UnmarshalCaseSensitivePreserveInts(raw, run)
	}
	return nil, fmt.Errorf("no run: kind %q", kind.Kind)
}

func format(ctx context.Context, req request) (out answer) {
	defer func() {
		if r := recover(); r != nil {
			out = answer{Error: fmt.Sprintf("panic: %v", r)}
		}
	}()
	run, err := decode(req.Run)
	if err != nil {
		return answer{Error: "decode: " + err.Error()}
	}
	if pro, ok := run.(*objects.PipelineRunObjectV1); ok {
		for _, raw := range req.Children {
			child, err := decode(raw)
			if err != nil {
				return answer{Error: "decode: " + err.Error()}
			}
			if tro, ok := child.(*objects.TaskRunObjectV1); ok {
				pro.AppendTaskRun(tro.TaskRun)
			}
		}
	}
	out.Decoded, _ = json.Marshal(run.GetObject())
	cfg, err := config.NewConfigFromMap(req.Config)
	if err != nil {
		return answer{Error: "config: " + err.Error()}
	}
	if _, ok := run.(*objects.TaskRunObjectV1); ok {
		for _, image := range artifacts.ExtractOCIImagesFromResults(ctx, run.GetResults()) {
			body, err := json.Marshal(simple.NewSimpleStruct(image.(name.Digest)))
			if err != nil {
				return answer{Error: "simplesigning: " + err.Error()}
			}
			out.Images = append(out.Images, body)
		}
	}
	payloader, err := formats.GetPayloader(config.PayloadType(req.Format), *cfg)
	if err != nil {
		return answer{Error: err.Error()}
	}
	payload, err := payloader.CreatePayload(ctx, run)
	if err != nil {
		out.Error = "payload: " + err.Error()
		return out
	}
	switch s := payload.(type) {
	case intoto.Statement:
		out.Statement, err = protojson.Marshal(&s)
	case *intoto.Statement:
		out.Statement, err = protojson.Marshal(s)
	default:
		err = fmt.Errorf("unexpected payload %T", payload)
	}
	if err != nil {
		out.Error = "marshal: " + err.Error()
	}
	return out
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "schema" {
		if err := dumpSchema(os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return
		}
		var req request
		ans := answer{}
		if bad := json.Unmarshal(line, &req); bad != nil {
			ans.Error = "request: " + bad.Error()
		} else {
			ans = format(ctx, req)
		}
		body, bad := json.Marshal(ans)
		if bad != nil {
			panic(bad)
		}
		out.Write(append(body, '\n'))
		out.Flush()
		if err != nil {
			return
		}
	}
}
