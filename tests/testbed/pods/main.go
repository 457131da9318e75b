// Command pods prints the pod that Tekton's own builder makes for a TaskRun.
//
//	pods < requests.jsonl  one answer a line for each request a line
//
// It takes the steps of Tekton's reconciler from the resolved task to the pod: substitutions, workspaces, builder.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/tektoncd/pipeline/pkg/apis/config"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/pod"
	"github.com/tektoncd/pipeline/pkg/reconciler/taskrun/resources"
	"github.com/tektoncd/pipeline/pkg/workspace"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

type request struct {
	Run      v1.TaskRun        `json:"run"`
	Flags    map[string]string `json:"flags"`
	Defaults map[string]string `json:"defaults"`
	Secrets  []corev1.Secret   `json:"secrets"`
}

type answer struct {
	Pod      *corev1.Pod          `json:"pod,omitempty"`
	TaskSpec *v1.TaskSpec         `json:"taskSpec,omitempty"`
	Run      *v1.TaskRun          `json:"run,omitempty"`
	Flags    *config.FeatureFlags `json:"featureFlags,omitempty"`
	Error    string               `json:"error,omitempty"`
}

// What the release of Tekton that the go.mod names installs, under a name of our own.
var images = pipeline.Images{
	EntrypointImage:        "registry.example.com/tekton/entrypoint@sha256:" + digest('e'),
	SidecarLogResultsImage: "registry.example.com/tekton/sidecarlogresults@sha256:" + digest('d'),
	NopImage:               "registry.example.com/tekton/nop@sha256:" + digest('a'),
	ShellImage:             "registry.example.com/tekton/shell@sha256:" + digest('b'),
	ShellImageWin:          "registry.example.com/tekton/powershell@sha256:" + digest('c'),
	WorkingDirInitImage:    "registry.example.com/tekton/workingdirinit@sha256:" + digest('f'),
}

func digest(char byte) string { return string(bytes.Repeat([]byte{char}, 64)) }

func build(req request) (*answer, error) {
	flags, err := config.NewFeatureFlagsFromMap(req.Flags)
	if err != nil {
		return nil, err
	}
	defaults, err := config.NewDefaultsFromMap(req.Defaults)
	if err != nil {
		return nil, err
	}
	cfg := config.FromContextOrDefaults(context.Background())
	cfg.FeatureFlags, cfg.Defaults = flags, defaults
	ctx := config.ToContext(context.Background(), cfg)

	run := req.Run.DeepCopy()
	run.SetDefaults(ctx)
	if run.Spec.TaskSpec == nil {
		return nil, fmt.Errorf("the run has no taskSpec")
	}
	volumes := workspace.CreateVolumes(run.Spec.Workspaces)
	spec := substitute(ctx, run, volumes)
	status := spec.DeepCopy()

	spec, err = workspace.Apply(ctx, *spec.DeepCopy(), run.Spec.Workspaces, volumes)
	if err != nil {
		return nil, err
	}
	spec = resources.ApplyCredentialsPath(spec, pipeline.CredsDir)
	built := run.DeepCopy()
	if run.Spec.PodTemplate != nil {
		built.Spec.PodTemplate = resources.ApplyPodTemplateReplacements(run.Spec.PodTemplate, run, spec.Params...)
	}

	client := fake.NewSimpleClientset()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: run.Spec.ServiceAccountName, Namespace: run.Namespace}}
	for i := range req.Secrets {
		account.Secrets = append(account.Secrets, corev1.ObjectReference{Name: req.Secrets[i].Name})
		if _, err := client.CoreV1().Secrets(run.Namespace).Create(ctx, &req.Secrets[i], metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	if _, err := client.CoreV1().ServiceAccounts(run.Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	cache, err := pod.NewEntrypointCache(client)
	if err != nil {
		return nil, err
	}
	builder := pod.Builder{Images: images, KubeClient: client, EntrypointCache: cache}
	made, err := builder.Build(ctx, built, *spec)
	if err != nil {
		return nil, err
	}
	made.APIVersion, made.Kind = "v1", "Pod"
	run.APIVersion, run.Kind = "tekton.dev/v1", "TaskRun"
	return &answer{Pod: made, TaskSpec: status, Run: run, Flags: flags}, nil
}

// substitute does what the reconciler does before it keeps the task in the run's status.
func substitute(ctx context.Context, run *v1.TaskRun, volumes map[string]corev1.Volume) *v1.TaskSpec {
	spec := run.Spec.TaskSpec.DeepCopy()
	spec = resources.ApplyParameters(spec, run, spec.Params...)
	spec = resources.ApplyContexts(spec, "", run)
	spec = resources.ApplyResults(spec)
	spec = resources.ApplyArtifacts(spec)
	spec = resources.ApplyStepExitCodePath(spec)
	return resources.ApplyWorkspaces(ctx, spec, spec.Workspaces, run.Spec.Workspaces, volumes)
}

func answerTo(line []byte) (out *answer) {
	defer func() {
		if r := recover(); r != nil {
			out = &answer{Error: fmt.Sprintf("panic: %v", r)}
		}
	}()
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		return &answer{Error: "request: " + err.Error()}
	}
	out, err := build(req)
	if err != nil {
		return &answer{Error: err.Error()}
	}
	return out
}

func main() {
	log.SetOutput(io.Discard) // the builder warns there
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return
		}
		body, bad := json.Marshal(answerTo(line))
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
