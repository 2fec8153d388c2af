package sse

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/netext/httpext"
	"go.k6.io/k6/metrics"
)

var errInit = common.NewInitContextError("sse.open cannot be used in the init context")

// Response is what open returns when the stream has ended.
type Response struct {
	URL     string            `js:"url"`
	Status  int               `js:"status"`
	Headers map[string]string `js:"headers"`
	// Error says why there was no stream, or what broke it. A stream that either side ended has none.
	Error string `js:"error"`
}

// open holds one stream and returns when it has ended: by the server, by `client.close()`, or with the VU's time.
//
// Like everything that blocks in k6 it holds the VU, so one VU holds one stream. Errors of the network are in the
// response; with k6's option `throw` one that prevents the stream is thrown.
func (m *instance) open(url string, args ...sobek.Value) (*Response, error) {
	state := m.vu.State()
	if state == nil {
		return nil, errInit
	}
	p, err := readParams(m.vu.Runtime(), state, args)
	if err != nil {
		return nil, err
	}
	// Whatever ends this function ends the connection.
	ctx, cancel := context.WithCancel(m.vu.Context())
	defer cancel()
	if state.RPSLimit != nil {
		if err := state.RPSLimit.Wait(ctx); err != nil {
			return &Response{URL: url, Error: err.Error()}, nil
		}
	}

	answer, err := m.ask(ctx, url, p)
	if err != nil {
		if state.Options.Throw.Bool && m.vu.Context().Err() == nil {
			return nil, err
		}
		return &Response{URL: url, Error: err.Error()}, nil
	}
	defer answer.Body.Close() //nolint:errcheck // nothing was written

	response := &Response{URL: url, Status: answer.StatusCode, Headers: make(map[string]string, len(answer.Header))}
	for name, values := range answer.Header {
		response.Headers[name] = strings.Join(values, ", ")
	}
	client := &client{instance: m, tags: p.tags, handlers: map[string][]sobek.Callable{}}
	if _, err := p.setup(sobek.Undefined(), client.object()); err != nil {
		return nil, err
	}
	broken, err := client.follow(answer)
	if err != nil {
		return nil, err
	}
	if broken != nil {
		response.Error = broken.Error()
	}
	return response, nil
}

// ask sends the request and reports its figures as soon as it is answered: the life of a stream says nothing about how
// fast it was opened.
func (m *instance) ask(ctx context.Context, url string, p *params) (*http.Response, error) {
	state := m.vu.State()
	request, err := p.request(url)
	if err != nil {
		return nil, err
	}
	tracer := &httpext.Tracer{}
	request = request.WithContext(httptrace.WithClientTrace(ctx, tracer.Trace()))

	client := &http.Client{Transport: state.Transport, CheckRedirect: redirects(state)}
	// A nil *Jar in the interface would not be nil.
	if p.jar != nil {
		client.Jar = p.jar
	}
	answer, err := client.Do(request)

	trail := tracer.Done()
	tag(&p.tags, state.Options.SystemTags, request, answer, err, trail.ConnRemoteAddr)
	trail.SaveSamples(state.BuiltinMetrics, &p.tags)
	trail.Samples = append(trail.Samples, failed(state, p, trail, err != nil || answer.StatusCode != http.StatusOK))
	metrics.PushIfNotDone(m.vu.Context(), state.Samples, trail)
	return answer, err
}

func redirects(state *lib.State) func(*http.Request, []*http.Request) error {
	return func(_ *http.Request, via []*http.Request) error {
		if most := state.Options.MaxRedirects; most.Valid && int64(len(via)) > most.Int64 {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

func failed(state *lib.State, p *params, trail *httpext.Trail, failed bool) metrics.Sample {
	sample := metrics.Sample{
		TimeSeries: metrics.TimeSeries{Metric: state.BuiltinMetrics.HTTPReqFailed, Tags: p.tags.Tags},
		Time:       trail.EndTime,
		Metadata:   p.tags.Metadata,
	}
	trail.Failed.Valid = true
	if failed {
		trail.Failed.Bool = true
		sample.Value = 1
	}
	return sample
}

// tag sets the same system tags as k6/http does, where they are enabled.
func tag(
	tags *metrics.TagsAndMeta, enabled *metrics.SystemTagSet,
	request *http.Request, answer *http.Response, err error, remote net.Addr,
) {
	set := func(tag metrics.SystemTag, value string) { tags.SetSystemTagOrMetaIfEnabled(enabled, tag, value) }

	// One name for many addresses, so that each does not make a time series of its own.
	url := request.URL.Redacted()
	if name, ok := tags.Tags.Get(metrics.TagName.String()); ok && name != "" {
		url = name
	}
	set(metrics.TagURL, url)
	set(metrics.TagName, url)
	set(metrics.TagMethod, request.Method)
	status := "0"
	if err != nil {
		set(metrics.TagError, err.Error())
	} else {
		status = strconv.Itoa(answer.StatusCode)
		set(metrics.TagProto, answer.Proto)
	}
	set(metrics.TagStatus, status)
	set(metrics.TagExpectedResponse, strconv.FormatBool(status == "200"))
	if remote != nil {
		if ip, _, err := net.SplitHostPort(remote.String()); err == nil {
			set(metrics.TagIP, ip)
		}
	}
}

// stream is the answer's body as text, or why it is no event stream (WHATWG HTML 9.2.5: any other status or type fails
// the connection).
func stream(answer *http.Response) (io.Reader, error) {
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer's status is %d", answer.StatusCode)
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != "text/event-stream" {
		return nil, fmt.Errorf("the answer's type is %q, not text/event-stream", answer.Header.Get("Content-Type"))
	}
	switch encoding := answer.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return answer.Body, nil
	case "gzip":
		// k6's transport leaves this to who asked for it with `Accept-Encoding`.
		return &unzipped{from: answer.Body}, nil
	default:
		return nil, fmt.Errorf("the answer's encoding is %q", encoding)
	}
}

// unzipped begins to unpack with the first read, since the head of a gzip stream may come with the first event only.
type unzipped struct {
	from   io.Reader
	reader *gzip.Reader
}

func (u *unzipped) Read(into []byte) (int, error) {
	if u.reader == nil {
		reader, err := gzip.NewReader(u.from)
		if err != nil {
			return 0, err
		}
		u.reader = reader
	}
	n, err := u.reader.Read(into)
	// A body that just ends is how a server that dies looks; say what it is.
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return n, fmt.Errorf("the gzip stream was cut off: %w", err)
	}
	return n, err
}
