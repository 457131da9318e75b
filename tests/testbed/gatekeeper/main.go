// Command gatekeeper decides reviews as Gatekeeper's webhook does, with Gatekeeper's constraint framework.
//
//	gatekeeper [-cache SECONDS] [-client-cert FILE -client-key FILE] OBJECTS.yaml… < reviews.jsonl
//
// The files hold Providers, ConstraintTemplates and constraints; a name that their types do not have is an error.
// Each line of input is {"request": AdmissionRequest, "namespace": Namespace}. It is answered by one line:
// {"allowed", "denials", "warnings", "dryrun", "error"}. Without -cache every review asks the providers.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/apis"
	"github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	providers "github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/v1beta1"
	templates "github.com/open-policy-agent/frameworks/constraint/pkg/apis/templates/v1"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/drivers/rego"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/reviews"
	core "github.com/open-policy-agent/frameworks/constraint/pkg/core/templates"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/target"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/yaml"
)

// The name that Gatekeeper's webhook gives itself where constraints are scoped.
const webhook = "validation.gatekeeper.sh"

type review struct {
	Request   admissionv1.AdmissionRequest `json:"request"`
	Namespace *corev1.Namespace            `json:"namespace"`
}

type answer struct {
	Allowed  bool     `json:"allowed"`
	Denials  []string `json:"denials"`
	Warnings []string `json:"warnings"`
	DryRun   []string `json:"dryrun"`
	Error    string   `json:"error"`
}

type engine struct {
	client    *client.Client
	providers *externaldata.ProviderCache
	scheme    *runtime.Scheme
}

func newEngine(ctx context.Context, seconds int, certificate, key string) (*engine, error) {
	cache := externaldata.NewCache()
	args := []rego.Arg{rego.AddExternalDataProviderCache(cache)}
	if seconds > 0 {
		ttl := time.Duration(seconds) * time.Second
		args = append(args, rego.AddExternalDataProviderResponseCache(externaldata.NewProviderResponseCache(ctx, ttl)))
	}
	if certificate != "" {
		watcher, err := certwatcher.New(certificate, key)
		if err != nil {
			return nil, err
		}
		args = append(args, rego.EnableExternalDataClientAuth(), rego.AddExternalDataClientCertWatcher(watcher))
	}
	driver, err := rego.New(args...)
	if err != nil {
		return nil, err
	}
	made, err := client.NewClient(
		client.Targets(&target.K8sValidationTarget{}), client.Driver(driver), client.EnforcementPoints(webhook))
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := apis.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return &engine{made, cache, scheme}, nil
}

// add reads the objects of one file, in their order: a constraint comes after its template.
func (e *engine) add(ctx context.Context, data []byte) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue // comments alone
		}
		if err := e.addOne(ctx, object, document); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (e *engine) addOne(ctx context.Context, object *unstructured.Unstructured, document []byte) error {
	version, kind := object.GetAPIVersion(), object.GetKind()
	switch {
	case version == "externaldata.gatekeeper.sh/v1beta1" && kind == "Provider":
		written, read := &providers.Provider{}, &unversioned.Provider{}
		if err := yaml.UnmarshalStrict(document, written); err != nil {
			return err
		}
		if err := e.scheme.Convert(written, read, nil); err != nil {
			return err
		}
		return e.providers.Upsert(read)
	case version == "templates.gatekeeper.sh/v1" && kind == "ConstraintTemplate":
		written, read := &templates.ConstraintTemplate{}, &core.ConstraintTemplate{}
		if err := yaml.UnmarshalStrict(document, written); err != nil {
			return err
		}
		if err := e.scheme.Convert(written, read, nil); err != nil {
			return err
		}
		_, err := e.client.AddTemplate(ctx, read)
		return err
	case strings.HasPrefix(version, "constraints.gatekeeper.sh/"):
		_, err := e.client.AddConstraint(ctx, object)
		return err
	}
	return fmt.Errorf("%s is neither Provider, ConstraintTemplate nor constraint", version)
}

// decide does what the webhook does with the results of a review: any that denies denies.
func (e *engine) decide(ctx context.Context, asked *review) answer {
	told := answer{Denials: []string{}, Warnings: []string{}, DryRun: []string{}}
	augmented := &target.AugmentedReview{
		AdmissionRequest: &asked.Request, Namespace: asked.Namespace, IsAdmission: true}
	found, err := e.client.Review(ctx, augmented, reviews.EnforcementPoint(webhook))
	if err != nil {
		told.Error = err.Error()
		return told
	}
	for _, result := range found.Results() {
		message := fmt.Sprintf("[%s] %s", result.Constraint.GetName(), result.Msg)
		switch result.EnforcementAction {
		case "deny":
			told.Denials = append(told.Denials, message)
		case "warn":
			told.Warnings = append(told.Warnings, message)
		case "dryrun":
			told.DryRun = append(told.DryRun, message)
		default:
			told.Error = "enforcement action " + result.EnforcementAction
		}
	}
	told.Allowed = len(told.Denials) == 0 && told.Error == ""
	return told
}

func main() {
	log.SetFlags(0)
	seconds := flag.Int("cache", 0, "how long the providers' answers are kept")
	certificate := flag.String("client-cert", "", "the certificate for providers that ask for one")
	key := flag.String("client-key", "", "its key")
	flag.Parse()
	ctx := context.Background()
	made, err := newEngine(ctx, *seconds, *certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range flag.Args() {
		data, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		if err := made.add(ctx, data); err != nil {
			log.Fatalf("%s: %v", file, err)
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	write := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		asked := &review{}
		if err := json.Unmarshal(lines.Bytes(), asked); err != nil {
			log.Fatal(err)
		}
		if err := write.Encode(made.decide(ctx, asked)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
