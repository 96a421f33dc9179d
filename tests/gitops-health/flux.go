package main

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fluxReader is the status reader of kustomize-controller for these expressions.
func fluxReader(checks []kustomize.CustomHealthCheck) (func(*unstructured.Unstructured) (verdict, error), error) {
	build, err := cel.NewStatusReader(checks)
	if err != nil {
		return nil, err
	}
	// The mapper serves those who look an object up by its name; here it is at hand.
	reader := build(nil)
	return func(object *unstructured.Unstructured) (verdict, error) {
		if !reader.Supports(object.GroupVersionKind().GroupKind()) {
			return verdict{}, fmt.Errorf("no expressions for kind %s", object.GetKind())
		}
		said, err := reader.ReadStatusForObject(context.Background(), nil, object)
		if err != nil {
			return verdict{}, err
		}
		if said.Error != nil {
			return verdict{Status: said.Status.String(), Message: said.Error.Error()}, nil
		}
		return verdict{Status: said.Status.String(), Message: said.Message}, nil
	}, nil
}
