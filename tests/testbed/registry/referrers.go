package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// withArtifactTypes makes the referrers API answer as OCI 1.1 asks: a descriptor's artifactType is its
// manifest's, and the config's media type only for a manifest without one. The library names the config's always.
func withArtifactTypes(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, _, found := strings.Cut(r.URL.Path, "/referrers/")
		if !found || r.Method != http.MethodGet {
			registry.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		registry.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		var index v1.IndexManifest
		if answer.Code == http.StatusOK && json.Unmarshal(body, &index) == nil {
			for i, referrer := range index.Manifests {
				path := repository + "/manifests/" + referrer.Digest.String()
				manifest := httptest.NewRecorder()
				registry.ServeHTTP(manifest, httptest.NewRequest(http.MethodGet, path, nil))
				var kind struct{ ArtifactType string }
				if json.Unmarshal(manifest.Body.Bytes(), &kind) == nil && kind.ArtifactType != "" {
					index.Manifests[i].ArtifactType = kind.ArtifactType
				}
			}
			body, _ = json.Marshal(index)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = bytes.NewReader(body).WriteTo(w)
	})
}
