// Package sse is the k6 module "k6/x/sse": server-sent events for scripts.
//
// It has the name and the API of the public extension of that name, as far as its blocking `open` goes, so that a script
// runs with either.
package sse

import (
	"errors"

	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/metrics"
)

func init() {
	modules.Register("k6/x/sse", new(RootModule))
}

// RootModule makes an instance of the module for each VU.
type RootModule struct{}

// instance is the module of one VU.
type instance struct {
	vu modules.VU
	// events counts the blocks that scripts were handed: the metric `sse_event`.
	events *metrics.Metric
}

var (
	_ modules.Module   = &RootModule{}
	_ modules.Instance = &instance{}
)

// NewModuleInstance implements modules.Module.
func (*RootModule) NewModuleInstance(vu modules.VU) modules.Instance {
	events, err := register(vu)
	if err != nil {
		common.Throw(vu.Runtime(), err)
	}
	return &instance{vu: vu, events: events}
}

func register(vu modules.VU) (*metrics.Metric, error) {
	env := vu.InitEnv()
	if env == nil || env.Registry == nil {
		return nil, errors.New("k6/x/sse can be imported in the init context only")
	}
	return env.Registry.NewMetric("sse_event", metrics.Counter)
}

// Exports implements modules.Instance: `import sse from "k6/x/sse"` and `import { open } from "k6/x/sse"`.
func (m *instance) Exports() modules.Exports {
	exports := m.vu.Runtime().NewObject()
	if err := exports.Set("open", m.open); err != nil {
		common.Throw(m.vu.Runtime(), err)
	}
	return modules.Exports{Default: exports, Named: map[string]any{"open": m.open}}
}
