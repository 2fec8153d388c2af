package sse

import (
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/grafana/sobek"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.k6.io/k6/js/modulestest"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"
	"golang.org/x/time/rate"
	"gopkg.in/guregu/null.v3"
)

// script is a VU with the module, a server for it, and the samples it has sent.
type script struct {
	t       *testing.T
	runtime *modulestest.Runtime
	samples chan metrics.SampleContainer
	server  *httptest.Server
}

func start(t *testing.T, handler http.HandlerFunc, change ...func(*lib.State)) *script {
	t.Helper()
	runtime := modulestest.NewRuntime(t)
	module := new(RootModule).NewModuleInstance(runtime.VU)
	require.NoError(t, runtime.VU.Runtime().Set("sse", module.Exports().Default))

	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	// A stream that is still open would keep the server from closing.
	t.Cleanup(runtime.CancelContext)
	require.NoError(t, runtime.VU.Runtime().Set("url", server.URL))

	samples := make(chan metrics.SampleContainer, 1000)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	state := &lib.State{
		Options: lib.Options{
			SystemTags: &metrics.DefaultSystemTagSet,
			UserAgent:  null.StringFrom("k6 test"),
		},
		Transport:      &http.Transport{DialContext: (&net.Dialer{}).DialContext, DisableCompression: true},
		CookieJar:      jar,
		BuiltinMetrics: runtime.BuiltinMetrics,
		Samples:        samples,
		Tags:           lib.NewVUStateTags(runtime.VU.InitEnvField.Registry.RootTagSet()),
	}
	for _, f := range change {
		f(state)
	}
	runtime.MoveToVUContext(state)
	return &script{t, runtime, samples, server}
}

// run runs a script and returns the value of its last expression.
func (s *script) run(code string) any {
	s.t.Helper()
	value, err := s.runtime.VU.Runtime().RunString(code)
	require.NoError(s.t, err)
	return value.Export()
}

// sums adds up the samples of each metric, and keeps the tags of each metric's last sample.
func (s *script) sums() (map[string]float64, map[string]map[string]string) {
	sums, tags := map[string]float64{}, map[string]map[string]string{}
	for len(s.samples) > 0 {
		for _, sample := range (<-s.samples).GetSamples() {
			sums[sample.Metric.Name] += sample.Value
			tags[sample.Metric.Name] = sample.Tags.Map()
		}
	}
	return sums, tags
}

func streams(text string) http.HandlerFunc {
	return func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(answer, text)
	}
}

// holds keeps the stream open after the text until the client leaves, and then says so.
func holds(text string) (http.HandlerFunc, <-chan struct{}) {
	left := make(chan struct{})
	return func(answer http.ResponseWriter, request *http.Request) {
		streams(text)(answer, request)
		answer.(http.Flusher).Flush()
		<-request.Context().Done()
		close(left)
	}, left
}

func within(t *testing.T, what <-chan struct{}, name string) {
	t.Helper()
	select {
	case <-what:
	case <-time.After(20 * time.Second):
		require.Fail(t, name+" did not happen")
	}
}

func TestAScriptSeesTheStream(t *testing.T) {
	t.Parallel()
	s := start(t, streams("id: 7\nretry: 1500\n\nevent: add\nid: 8\ndata: a\ndata: b\n\n: hb\n\n"))
	assert.Equal(t, "setup open 7//|1500|7|false 8/add/a\nb|null|8|true //hb|null|8|false end 200 text/event-stream; charset=utf-8  true",
		s.run(`
			const seen = [];
			const response = sse.open(url, (client) => {
				seen.push("setup");
				client.on("open", () => seen.push("open"));
				client.on("event", (e) => seen.push(e.id + "/" + e.name + "/" + e.data + e.comment + "|" + e.retry + "|" + e.lastEventId + "|" + e.message));
				client.on("error", (e) => seen.push(e.error()));
			});
			seen.push("end", response.status, response.headers["Content-Type"], response.error, response.url === url);
			seen.join(" ")`))
	sums, tags := s.sums()
	assert.InDelta(t, 3, sums["sse_event"], 0)
	assert.InDelta(t, 1, sums["http_reqs"], 0)
	assert.InDelta(t, 0, sums["http_req_failed"], 0)
	assert.Equal(t, "200", tags["sse_event"]["status"])
	assert.Equal(t, s.server.URL, tags["http_reqs"]["url"])
}

func TestARequestIsWhatTheScriptSays(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	body := make(chan string, 1)
	s := start(t, func(answer http.ResponseWriter, request *http.Request) {
		text := make([]byte, 10)
		n, _ := request.Body.Read(text)
		body <- string(text[:n])
		got <- request
		streams("data: a\n\n")(answer, request)
	})
	s.run(`sse.open(url + "/x?y=1", {
		method: "post", body: "hello", headers: {"Last-Event-ID": "7", "Host": "some.example"},
		cookies: {c: "d"}, tags: {name: "stream", mine: 3}, unknown: 1, jar: null,
	}, () => {})`)
	request := <-got
	assert.Equal(t, "POST", request.Method)
	assert.Equal(t, "hello", <-body)
	assert.Equal(t, "/x?y=1", request.URL.String())
	assert.Equal(t, "7", request.Header.Get("Last-Event-ID"))
	assert.Equal(t, "text/event-stream", request.Header.Get("Accept"))
	assert.Equal(t, "k6 test", request.Header.Get("User-Agent"))
	assert.Equal(t, "some.example", request.Host)
	assert.Equal(t, "c=d", request.Header.Get("Cookie"))
	_, tags := s.sums()
	for _, name := range []string{"http_reqs", "sse_event"} {
		assert.Equal(t, "stream", tags[name]["url"], "one time series for all addresses")
		assert.Equal(t, "3", tags[name]["mine"])
		assert.Equal(t, "POST", tags[name]["method"])
	}
}

func TestAScriptClosesTheStream(t *testing.T) {
	t.Parallel()
	handler, left := holds("data: 1\n\ndata: 2\n\ndata: 3\n\n")
	s := start(t, handler)
	assert.Equal(t, "1,2 200 ", s.run(`
		const seen = [];
		const response = sse.open(url, (client) => client.on("event", (e) => {
			seen.push(e.data);
			if (e.data === "2") client.close();
		}));
		seen.join() + " " + response.status + " " + response.error`))
	within(t, left, "the end of the connection")
}

func TestTheEndOfTheVUEndsTheStream(t *testing.T) {
	t.Parallel()
	handler, left := holds("data: 1\n\n")
	s := start(t, handler)
	require.NoError(t, s.runtime.VU.Runtime().Set("stop", s.runtime.CancelContext))
	assert.Equal(t, "200  0", s.run(`
		let errors = 0;
		const response = sse.open(url, (client) => {
			client.on("event", () => stop());
			client.on("error", () => errors++);
		});
		response.status + " " + response.error + " " + errors`))
	within(t, left, "the end of the connection")
}

func TestAStreamThatBreaksIsToldAndEnds(t *testing.T) {
	t.Parallel()
	s := start(t, func(answer http.ResponseWriter, request *http.Request) {
		streams("data: 1\n\ndata: 2")(answer, request)
		answer.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	assert.Equal(t, "1|unexpected EOF|200|unexpected EOF", s.run(`
		const seen = [];
		const response = sse.open(url, (client) => {
			client.on("event", (e) => seen.push(e.data));
			client.on("error", (e) => seen.push(e.error()));
		});
		seen.concat(response.status, response.error).join("|")`))
}

func TestWhatIsNoStreamFails(t *testing.T) {
	t.Parallel()
	for want, handler := range map[string]http.HandlerFunc{
		"the answer's status is 401|401": func(answer http.ResponseWriter, _ *http.Request) {
			answer.Header().Set("Content-Type", "text/event-stream")
			answer.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(answer, "data: a\n\n")
		},
		`the answer's type is "text/plain", not text/event-stream|200`: func(answer http.ResponseWriter, _ *http.Request) {
			answer.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(answer, "data: a\n\n")
		},
		`the answer's encoding is "br"|200`: func(answer http.ResponseWriter, request *http.Request) {
			answer.Header().Set("Content-Encoding", "br")
			streams("data: a\n\n")(answer, request)
		},
	} {
		s := start(t, handler)
		assert.Equal(t, want, s.run(`
			const seen = [];
			const response = sse.open(url, (client) => {
				client.on("open", () => seen.push("open"));
				client.on("event", () => seen.push("event"));
				client.on("error", (e) => seen.push(e.error()));
			});
			seen.concat(response.status).join("|")`))
	}
}

func TestAServerThatIsNotThereIsInTheResponse(t *testing.T) {
	t.Parallel()
	s := start(t, streams(""))
	s.server.Close()
	got := s.run(`const r = sse.open(url, () => { throw new Error("not called") }); r.status + " " + r.error`)
	assert.Contains(t, got, "0 Get ")
	assert.Contains(t, got, "connection refused")
	sums, tags := s.sums()
	assert.InDelta(t, 1, sums["http_req_failed"], 0)
	assert.Equal(t, "0", tags["http_reqs"]["status"])

	s.runtime.VU.State().Options.Throw = null.BoolFrom(true)
	_, err := s.runtime.VU.Runtime().RunString(`sse.open(url, () => {})`)
	require.ErrorContains(t, err, "connection refused")
}

func TestGzipIsUnpackedAsItComes(t *testing.T) {
	t.Parallel()
	handedOut := make(chan struct{})
	s := start(t, func(answer http.ResponseWriter, request *http.Request) {
		assert.Equal(t, "gzip", request.Header.Get("Accept-Encoding"))
		answer.Header().Set("Content-Type", "text/event-stream")
		answer.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(answer)
		fmt.Fprint(packed, "data: 1\n\n")
		assert.NoError(t, packed.Flush())
		answer.(http.Flusher).Flush()
		within(t, handedOut, "the first event")
		fmt.Fprint(packed, "data: 2\n\n")
		assert.NoError(t, packed.Close())
	})
	require.NoError(t, s.runtime.VU.Runtime().Set("first", func() { close(handedOut) }))
	assert.Equal(t, "12", s.run(`
		let seen = "";
		const response = sse.open(url, {headers: {"Accept-Encoding": "gzip"}}, (client) => client.on("event", (e) => {
			seen += e.data;
			if (e.data === "1") first();
		}));
		seen + response.error`))
}

func TestCookiesOfTheVUAreKept(t *testing.T) {
	t.Parallel()
	s := start(t, func(answer http.ResponseWriter, request *http.Request) {
		http.SetCookie(answer, &http.Cookie{Name: "where", Value: "a"})
		streams("data: "+request.Header.Get("Cookie")+"\n\n")(answer, request)
	})
	assert.Equal(t, ",where=a", s.run(`
		const seen = [];
		for (let i = 0; i < 2; i++) sse.open(url, (client) => client.on("event", (e) => seen.push(e.data)));
		seen.join()`))
}

func TestTheLimitOfRequestsCounts(t *testing.T) {
	t.Parallel()
	s := start(t, streams(""), func(state *lib.State) { state.RPSLimit = rate.NewLimiter(rate.Limit(0.001), 1) })
	s.run(`sse.open(url, () => {})`)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(`sse.open(url, () => {})`)
	}()
	s.runtime.CancelContext()
	within(t, ended, "the end of waiting")
	sums, _ := s.sums()
	assert.InDelta(t, 1, sums["http_reqs"], 0)
}

func TestWhatAHandlerThrowsReachesTheScript(t *testing.T) {
	t.Parallel()
	handler, left := holds("data: 1\n\n")
	s := start(t, handler)
	assert.Equal(t, "Error: mine", s.run(`
		let caught = "";
		try {
			sse.open(url, (client) => client.on("event", () => { throw new Error("mine") }));
		} catch (e) {
			caught = String(e);
		}
		caught`))
	within(t, left, "the end of the connection")
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		`sse.open(url)`:                                         "sse.open takes",
		`sse.open(url, {}, {})`:                                 "must be a function",
		`sse.open(url, {}, () => {}, 1)`:                        "sse.open takes",
		`sse.open(url, {jar: {}}, () => {})`:                    "jar of sse.open",
		`sse.open(url, {tags: {a: {}}}, () => {})`:              "tags of sse.open",
		`sse.open(url, (client) => client.on("event", "nope"))`: "must be a function",
	} {
		s := start(t, streams(""))
		_, err := s.runtime.VU.Runtime().RunString(code)
		require.ErrorContains(t, err, want, code)
	}
}

func TestTheInitContextHasNoStreams(t *testing.T) {
	t.Parallel()
	runtime := modulestest.NewRuntime(t)
	module := new(RootModule).NewModuleInstance(runtime.VU)
	open, ok := sobek.AssertFunction(runtime.VU.Runtime().ToValue(module.Exports().Named["open"]))
	require.True(t, ok)
	_, err := open(sobek.Undefined(), runtime.VU.Runtime().ToValue("http://127.0.0.1"))
	require.ErrorContains(t, err, "init context")
}
