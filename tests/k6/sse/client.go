package sse

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/metrics"
)

// client is the stream as the script's function gets it: `client.on(kind, handler)` and `client.close()`.
//
// Everything runs on the VU's own goroutine: the script can only call it from a handler, while no read is under way.
type client struct {
	instance *instance
	tags     metrics.TagsAndMeta
	handlers map[string][]sobek.Callable
	closed   bool
}

func (c *client) object() sobek.Value {
	rt := c.instance.vu.Runtime()
	object := rt.NewObject()
	for name, method := range map[string]any{"on": c.on, "close": c.close} {
		if err := object.Set(name, method); err != nil {
			common.Throw(rt, err)
		}
	}
	return object
}

// on adds a handler of `open`, `event` or `error`. Handlers of one kind run in the order in which they were added.
func (c *client) on(kind string, handler sobek.Value) error {
	function, ok := sobek.AssertFunction(handler)
	if !ok {
		return errors.New("the second argument of client.on must be a function")
	}
	c.handlers[kind] = append(c.handlers[kind], function)
	return nil
}

// close ends the stream once the handler that calls it returns. What has arrived after the event in hand is dropped.
func (c *client) close() {
	c.closed = true
}

// follow hands out events until the stream ends. The first value is what broke the stream; the second is what a handler
// threw.
func (c *client) follow(answer *http.Response) (broken, thrown error) {
	body, err := stream(answer)
	if err != nil {
		return err, c.call("error", err)
	}
	if err := c.call("open"); err != nil {
		return nil, err
	}
	ctx, samples := c.instance.vu.Context(), c.instance.vu.State().Samples
	parser := NewParser(body)
	for !c.closed {
		event, err := parser.Next()
		switch {
		case ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return err, c.call("error", err)
		}
		metrics.PushIfNotDone(ctx, samples, metrics.Sample{
			TimeSeries: metrics.TimeSeries{Metric: c.instance.events, Tags: c.tags.Tags},
			Time:       time.Now(),
			Metadata:   c.tags.Metadata,
			Value:      1,
		})
		if err := c.call("event", event); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (c *client) call(kind string, args ...any) error {
	values := make([]sobek.Value, len(args))
	for i, arg := range args {
		values[i] = c.instance.vu.Runtime().ToValue(arg)
	}
	for _, handler := range c.handlers[kind] {
		if _, err := handler(sobek.Undefined(), values...); err != nil {
			return err
		}
	}
	return nil
}
