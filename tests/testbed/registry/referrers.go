package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referrers answers the referrers API from an index that it keeps of what is written, as registries do, and names
// each descriptor's artifactType as OCI 1.1 asks: its manifest's, and the config's media type only for a manifest
// without one. The library reads every manifest of a repository for each question, and names the config's always.
type referrers struct {
	registry http.Handler
	log      *log.Logger
	lock     sync.Mutex
	// repository, digest of a subject, digest of a manifest that refers to it
	listed map[string]map[string]map[string]v1.Descriptor
}

func withReferrers(registry http.Handler, log *log.Logger) http.Handler {
	return &referrers{registry: registry, log: log, listed: map[string]map[string]map[string]v1.Descriptor{}}
}

func (s *referrers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repository, reference, found := cutLast(path, "/manifests/"); found {
		switch r.Method {
		case http.MethodPut:
			s.write(w, r, repository)
			return
		case http.MethodDelete:
			s.remove(repository, reference)
		}
	}
	if repository, subject, found := cutLast(path, "/referrers/"); found && r.Method == http.MethodGet {
		if answer := s.list(repository, subject); answer != nil {
			s.log.Printf("%s %s", r.Method, r.URL)
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			_, _ = w.Write(answer)
			return
		}
	}
	s.registry.ServeHTTP(w, r)
}

func (s *referrers) write(w http.ResponseWriter, r *http.Request, repository string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &status{ResponseWriter: w}
	// listed before the writer hears of it
	answer.created = func() { s.add(repository, r.Header.Get("Content-Type"), body) }
	s.registry.ServeHTTP(answer, r)
}

func (s *referrers) add(repository string, mediaType string, body []byte) {
	var manifest struct {
		Subject      *v1.Descriptor    `json:"subject"`
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
		Config       struct {
			MediaType string `json:"mediaType"`
		} `json:"config"`
	}
	_ = json.Unmarshal(body, &manifest)
	s.lock.Lock()
	defer s.lock.Unlock()
	subjects := s.listed[repository]
	if subjects == nil {
		subjects = map[string]map[string]v1.Descriptor{}
		s.listed[repository] = subjects
	}
	if manifest.Subject == nil {
		return
	}
	subject := manifest.Subject.Digest.String()
	if subjects[subject] == nil {
		subjects[subject] = map[string]v1.Descriptor{}
	}
	sum := sha256.Sum256(body)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	kind := manifest.ArtifactType
	if kind == "" {
		kind = manifest.Config.MediaType
	}
	subjects[subject][digest.String()] = v1.Descriptor{
		MediaType:    types.MediaType(mediaType),
		Size:         int64(len(body)),
		Digest:       digest,
		ArtifactType: kind,
		Annotations:  manifest.Annotations,
	}
}

func (s *referrers) remove(repository string, digest string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, listed := range s.listed[repository] {
		delete(listed, digest)
	}
}

// list returns the index about a subject, in any order, or nil where the library knows what to say.
func (s *referrers) list(repository string, subject string) []byte {
	if _, err := v1.NewHash(subject); err != nil {
		return nil
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	subjects, found := s.listed[repository]
	if !found {
		return nil
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, one := range subjects[subject] {
		index.Manifests = append(index.Manifests, one)
	}
	answer, _ := json.Marshal(index)
	return answer
}

// status calls created before a 201 is sent.
type status struct {
	http.ResponseWriter
	created func()
}

func (s *status) WriteHeader(code int) {
	if code == http.StatusCreated {
		s.created()
	}
	s.ResponseWriter.WriteHeader(code)
}

func cutLast(path string, mark string) (string, string, bool) {
	at := strings.LastIndex(path, mark)
	if at < 0 {
		return "", "", false
	}
	return path[:at], path[at+len(mark):], true
}
