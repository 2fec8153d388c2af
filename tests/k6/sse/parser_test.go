package sse

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, from io.Reader) []Event {
	t.Helper()
	parser := NewParser(from)
	var events []Event
	for {
		event, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return events
		}
		require.NoError(t, err)
		events = append(events, event)
	}
}

func TestAHeartbeatIsSeenBeforeTheNextBlock(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = writer.Write([]byte(":\n")) }()
	event, err := NewParser(reader).Next()
	require.NoError(t, err)
	assert.Equal(t, Event{}, event)
}

func TestAStreamIsReadAsTheStandardSays(t *testing.T) {
	t.Parallel()
	message := func(data string) Event { return Event{Data: data, Message: true} }
	for name, test := range map[string]struct {
		stream string
		events []Event
	}{
		"lines of data are joined":          {"data: YHOO\ndata: +2\ndata: 10\n\n", []Event{message("YHOO\n+2\n10")}},
		"one space after the colon is gone": {"data:a\n\ndata: a\n\ndata:  a\n\n", []Event{message("a"), message("a"), message(" a")}},
		"an empty line of data counts":      {"data\n\ndata\ndata\n\ndata:", []Event{message(""), message("\n")}},
		"a colon in a value stays":          {"data: a: b\n\n", []Event{message("a: b")}},
		"the end cuts a block off":          {"data: a\n\ndata: b\n", []Event{message("a")}},
		"LF, CR and CR LF end lines":        {"data: a\r\rdata: b\r\n\r\ndata: c\n\ndata: d\r\ndata: e\n\r", []Event{message("a"), message("b"), message("c"), message("d\ne")}},
		"a mark of byte order is left out":  {"\ufeffdata: a\n\n", []Event{message("a")}},
		"only the first, and only one":      {"\ufeff\ufeffdata: a\n\n\ufeffdata: b\n\ndata: c\n\n", []Event{message("c")}},
		"unknown fields are left out":       {"foo: 1\ndatas: 2\n Data: 3\n\nDATA: 4\ndata: a\n\n", []Event{message("a")}},
		"names":                             {"event: add\ndata: a\n\ndata: b\n\n", []Event{{Name: "add", Data: "a", Message: true}, message("b")}},
		"the last name counts":              {"event: a\nevent: b\ndata\n\n", []Event{{Name: "b", Message: true}}},
		"comments are seen":                 {": hb\n\n:a\n: b\ndata: c\n:d\n\n", []Event{{Comment: "hb"}, {Comment: "a"}, {Comment: "b"}, {Comment: "d", Data: "c", Message: true}}},
		"blank lines alone say nothing":     {"\n\n\r\n\r\r", nil},
		"text that is no UTF-8":             {"data: \xe2\x82 \xff\n\n", []Event{message("\ufffd \ufffd")}},
		"retry": {"retry: 3000\n\nretry: 1s\n\nretry:-1\n\nretry\n\nretry: 99999999999999999999\n\nretry:07\ndata: a\n\n", []Event{
			{Retry: int64(3000)},
			{Retry: int64(7), Data: "a", Message: true},
		}},
		"an id stays until the next": {"id: 1\n\ndata: a\n\nid: 2\ndata: b\n\ndata: c\n\nid\ndata: d\n\ndata: e\n\n", []Event{
			{ID: "1", LastEventID: "1"},
			{LastEventID: "1", Data: "a", Message: true},
			{ID: "2", LastEventID: "2", Data: "b", Message: true},
			{LastEventID: "2", Data: "c", Message: true},
			{Data: "d", Message: true},
			{Data: "e", Message: true},
		}},
		"an id with NUL is left out": {"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", []Event{
			{ID: "1", LastEventID: "1", Data: "a", Message: true},
			{LastEventID: "1", Data: "b", Message: true},
		}},
		"an id that is cut off does not count": {"id: 1\ndata: a\n\nid: 2\n", []Event{
			{ID: "1", LastEventID: "1", Data: "a", Message: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.events, parse(t, strings.NewReader(test.stream)))
			assert.Equal(t, test.events, parse(t, iotest.OneByteReader(strings.NewReader(test.stream))), "byte by byte")
		})
	}
}

// A block whose last line ends in CR is handed out without waiting for the LF that may follow.
func TestABlockThatEndsInCRDoesNotWaitForMore(t *testing.T) {
	t.Parallel()
	from, to := io.Pipe()
	defer to.Close() //nolint:errcheck // ends the reader
	parser := NewParser(from)
	for _, text := range []string{"data: a\r\r", "\ndata: b\r\n\r", "\n: c\r\r"} {
		go to.Write([]byte(text)) //nolint:errcheck // a pipe
		_, err := parser.Next()
		require.NoError(t, err)
	}
}

func TestABlockIsBounded(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("data: "), zeros{})
	_, err := NewParser(endless).Next()
	require.ErrorIs(t, err, errBlockTooLarge)

	lines := strings.Repeat("data: "+strings.Repeat("a", 1<<20)+"\n", 17)
	_, err = NewParser(strings.NewReader(lines)).Next()
	require.ErrorIs(t, err, errBlockTooLarge)
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

// What is written in any of the allowed ways is read back, however the bytes are cut.
func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		text, events := write(random)
		assert.Equal(t, events, parse(t, &pieces{[]byte(text), random}), "seed %d: %q", seed, text)
	}
}

// write makes a stream up and says what a reader should make of it.
func write(random *rand.Rand) (string, []Event) {
	var text strings.Builder
	var events []Event
	lastID := ""
	words := []string{"", "a", "b:c", " d", "ü", "data: e", "\t"}
	word := func() string { return words[random.IntN(len(words))] }
	line := func(field, value string) {
		text.WriteString(field)
		// Without a space a value that begins with one would lose it.
		switch {
		case value != "":
			text.WriteString(": " + value)
		case random.IntN(2) == 0 || field == "":
			text.WriteString(":")
		}
		text.WriteString([]string{"\n", "\r", "\r\n"}[random.IntN(3)])
	}
	blank := func() {
		// A CR before it would swallow a lone LF.
		if strings.HasSuffix(text.String(), "\r") {
			text.WriteString("\r\n")
		} else {
			text.WriteString([]string{"\n", "\r", "\r\n"}[random.IntN(3)])
		}
	}
	for range random.IntN(5) + 1 {
		event := Event{}
		data := make([]string, random.IntN(4))
		for i := range data {
			data[i] = word()
			line("data", data[i])
		}
		event.Data, event.Message = strings.Join(data, "\n"), len(data) > 0
		says := event.Message
		if random.IntN(2) == 0 {
			event.Name = word()
			line("event", event.Name)
			says = true
		}
		if random.IntN(2) == 0 {
			event.ID = word()
			lastID = event.ID
			line("id", event.ID)
			says = true
		}
		if random.IntN(4) == 0 {
			event.Comment = word()
			line("", event.Comment)
			says = true
		}
		event.LastEventID = lastID
		blank()
		if says {
			events = append(events, event)
		}
	}
	return text.String(), events
}

// pieces hands out a few bytes at a time.
type pieces struct {
	left   []byte
	random *rand.Rand
}

func (p *pieces) Read(into []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(into, p.left[:min(len(p.left), 1+p.random.IntN(7))])
	p.left = p.left[n:]
	return n, nil
}

// No stream makes the parser fail, loop or hand out a block that says nothing.
func FuzzParser(f *testing.F) {
	f.Add([]byte("\ufeffid: 1\r\nretry: 5\r\revent: a\ndata: b\n\n: c\n\n"))
	f.Add([]byte("data\n\ndata\ndata\n\ndata:"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, event := range parse(t, strings.NewReader(string(stream))) {
			for _, text := range []string{event.ID, event.Name, event.Data, event.Comment, event.LastEventID} {
				assert.NotContains(t, text, "\r")
				assert.True(t, strings.ToValidUTF8(text, "") == text)
			}
			assert.NotContains(t, event.ID+event.LastEventID, "\x00")
			assert.True(t, event.Message || event.Data == "")
		}
	})
}
