package sse

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"strings"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	k6http "go.k6.io/k6/js/modules/k6/http"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"
)

// params is what a script passes to open beside the address.
type params struct {
	method  string
	header  http.Header
	body    string
	jar     *cookiejar.Jar
	cookies []*http.Cookie
	tags    metrics.TagsAndMeta
	setup   sobek.Callable
}

// readParams reads `(params, setup)` or `(setup)`. What it does not know it leaves alone, as k6/http does.
func readParams(rt *sobek.Runtime, state *lib.State, args []sobek.Value) (*params, error) {
	p := &params{
		method: http.MethodGet,
		header: http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-cache"}},
		jar:    state.CookieJar,
		tags:   state.Tags.GetCurrentValues(),
	}
	if agent := state.Options.UserAgent; agent.Valid {
		p.header.Set("User-Agent", agent.String)
	}
	if len(args) < 1 || len(args) > 2 {
		return nil, errors.New("sse.open takes an address, optional params, and a function")
	}
	setup, ok := sobek.AssertFunction(args[len(args)-1])
	if !ok {
		return nil, errors.New("the last argument of sse.open must be a function")
	}
	p.setup = setup
	if len(args) == 1 || common.IsNullish(args[0]) {
		return p, nil
	}
	given := args[0].ToObject(rt)
	for _, key := range given.Keys() {
		if value := given.Get(key); !common.IsNullish(value) {
			if err := p.take(rt, key, value); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p *params) take(rt *sobek.Runtime, key string, value sobek.Value) error {
	switch key {
	case "method":
		p.method = strings.ToUpper(strings.TrimSpace(value.String()))
	case "body":
		p.body = value.String()
	case "headers":
		headers := value.ToObject(rt)
		for _, name := range headers.Keys() {
			p.header.Set(name, headers.Get(name).String())
		}
	case "cookies":
		cookies := value.ToObject(rt)
		for _, name := range cookies.Keys() {
			p.cookies = append(p.cookies, &http.Cookie{Name: name, Value: cookies.Get(name).String()})
		}
	case "jar":
		jar, ok := value.Export().(*k6http.CookieJar)
		if !ok {
			return errors.New("jar of sse.open must be a cookie jar of k6/http")
		}
		p.jar = jar.Jar
	case "tags":
		if err := common.ApplyCustomUserTags(rt, &p.tags, value); err != nil {
			return fmt.Errorf("tags of sse.open: %w", err)
		}
	}
	return nil
}

// request has no context yet; the caller adds it.
func (p *params) request(url string) (*http.Request, error) {
	request, err := http.NewRequest(p.method, url, strings.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	request.Header = p.header
	// Go takes the host from the request, not from its header.
	if host := p.header.Get("Host"); host != "" {
		request.Host = host
	}
	for _, cookie := range p.cookies {
		request.AddCookie(cookie)
	}
	return request, nil
}
