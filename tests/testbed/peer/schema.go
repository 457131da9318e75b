package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
)

// Types that write themselves: the reader has a rule of its own for each.
var leaves = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():          "time",
	reflect.TypeFor[metav1.MicroTime]():     "microtime",
	reflect.TypeFor[metav1.Duration]():      "duration",
	reflect.TypeFor[resource.Quantity]():    "quantity",
	reflect.TypeFor[intstr.IntOrString]():   "intorstring",
	reflect.TypeFor[runtime.RawExtension](): "raw",
	reflect.TypeFor[metav1.FieldsV1]():      "raw",
	reflect.TypeFor[apis.VolatileTime]():    "time",
	reflect.TypeFor[v1.ParamValue]():        "value",
}

var (
	marshaler   = reflect.TypeFor[json.Marshaler]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

type dumper struct {
	structs map[string][]any
	seen    map[string]reflect.Type
	odd     map[string]bool
}

func (d *dumper) kind(t reflect.Type) any {
	if leaf, ok := leaves[t]; ok {
		return leaf
	}
	if t.Kind() == reflect.Pointer {
		return []any{"ptr", d.kind(t.Elem())}
	}
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) || reflect.PointerTo(t).Implements(unmarshaler) {
		d.odd[t.String()] = true
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "float"
	case reflect.Interface:
		return "raw"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return []any{"list", d.kind(t.Elem())}
	case reflect.Map:
		return []any{"map", d.kind(t.Elem())}
	case reflect.Struct:
		d.structure(t)
		return "@" + t.String()
	}
	panic(fmt.Sprintf("no rule for %s", t))
}

func (d *dumper) structure(t reflect.Type) {
	name := t.String()
	if known, ok := d.seen[name]; ok {
		if known != t {
			panic("two types are called " + name)
		}
		return
	}
	d.seen[name] = t
	d.structs[name] = d.fields(t)
}

func (d *dumper) fields(t reflect.Type) []any {
	out := []any{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		parts := strings.Split(tag, ",")
		name := parts[0]
		if name == "-" && len(parts) == 1 {
			continue
		}
		ft := f.Type
		if f.Anonymous && name == "" {
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				out = append(out, d.fields(ft)...)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
			if !tagged {
				d.odd["untagged "+t.String()+"."+f.Name] = true
			}
		}
		options := ""
		for _, o := range parts[1:] {
			if o == "omitempty" || o == "omitzero" {
				options += strings.TrimPrefix(o, "omit")[:1]
			} else if o == "string" {
				panic("string option in " + t.String())
			}
		}
		out = append(out, []any{name, d.kind(ft), options})
	}
	return out
}

// dumpSchema prints, for each structure reachable from the runs, its fields in the order Go writes them.
func dumpSchema(w io.Writer) error {
	d := &dumper{structs: map[string][]any{}, seen: map[string]reflect.Type{}, odd: map[string]bool{}}
	d.kind(reflect.TypeFor[v1.TaskRun]())
	d.kind(reflect.TypeFor[v1.PipelineRun]())
	odd := []string{}
	for name := range d.odd {
		odd = append(odd, name)
	}
	sort.Strings(odd)
	e := json.NewEncoder(w)
	return e.Encode(map[string]any{"structs": d.structs, "odd": odd})
}
