// Reads objects as JSON and prints how the tools that sync manifests would read their health.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// question is what is read from stdin.
type question struct {
	// Objects as the API server gives them.
	Objects []unstructured.Unstructured `json:"objects"`
	// Lua scripts of Argo CD, by kind.
	Lua map[string]string `json:"lua"`
	// Flux is spec.healthCheckExprs of a Kustomization.
	Flux []kustomize.CustomHealthCheck `json:"flux"`
}

// answer is printed for each object, in their order.
type answer struct {
	Kstatus verdict `json:"kstatus"`
	Flux    verdict `json:"flux"`
	Argo    verdict `json:"argo"`
}

// verdict is one tool's word, and its sentence where it has one.
type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var asked question
	if err := json.Unmarshal(text, &asked); err != nil {
		return fmt.Errorf("read the question: %w", err)
	}
	flux, err := fluxReader(asked.Flux)
	if err != nil {
		return err
	}
	answers := make([]answer, 0, len(asked.Objects))
	for i := range asked.Objects {
		object := &asked.Objects[i]
		kstatus, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("kstatus: %w", err)
		}
		fluxSays, err := flux(object)
		if err != nil {
			return fmt.Errorf("flux: %w", err)
		}
		argo, err := argoHealth(object, asked.Lua[object.GetKind()])
		if err != nil {
			return fmt.Errorf("health.lua of %s: %w", object.GetKind(), err)
		}
		answers = append(answers, answer{
			Kstatus: verdict{Status: kstatus.Status.String(), Message: kstatus.Message},
			Flux:    fluxSays,
			Argo:    argo,
		})
	}
	return json.NewEncoder(out).Encode(answers)
}
