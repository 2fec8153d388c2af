package sse

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

// maxBlock bounds what one block of a stream may hold, in bytes. Fanfare's largest event is 1 MiB.
const maxBlock = 16 << 20

var errBlockTooLarge = errors.New("a block of the event stream is larger than 16 MiB")

// Event is one block of an event stream, as scripts see it.
//
// A browser hands out only blocks with data. Scripts get every block that says something, and each comment between blocks,
// so that they see heartbeats and a cursor that comes alone; Message tells them apart.
type Event struct {
	// ID is the block's own `id:`, empty if it has none.
	ID string `js:"id"`
	// Name is the block's `event:`, empty if it has none.
	Name string `js:"name"`
	// Data is the block's `data:` lines with LF between them.
	Data string `js:"data"`
	// Comment is the block's comments with LF between them, or a comment between blocks.
	Comment string `js:"comment"`
	// LastEventID is what a client sends as `Last-Event-ID` after this block: the newest `id:` of the stream.
	LastEventID string `js:"lastEventId"`
	// Retry is the block's `retry:` in milliseconds (int64), nil if it has none.
	Retry any `js:"retry"`
	// Message tells whether a browser would hand the block out.
	Message bool `js:"message"`
}

// Parser reads an event stream as WHATWG HTML 9.2.6 says: https://html.spec.whatwg.org/multipage/server-sent-events.html
type Parser struct {
	from   *bufio.Reader
	line   []byte
	lastID string
	// A CR ended the line before: an LF that follows belongs to it. It is looked for only when the next line is read,
	// since it may come much later than the CR, or never.
	afterCR bool
	begun   bool
}

// NewParser reads from a stream's first byte on.
func NewParser(from io.Reader) *Parser {
	return &Parser{from: bufio.NewReader(from)}
}

// Next waits for the next block that says something. A block that the end of the stream cuts off is dropped; the error is
// then io.EOF, or whatever the reader said.
func (p *Parser) Next() (Event, error) {
	b := block{}
	for {
		line, err := p.readLine(maxBlock - b.size)
		if err != nil {
			return Event{}, err
		}
		if line != "" {
			b.take(line)
			// A heartbeat is a comment line alone, and the next block may be far.
			if line[0] == ':' && b.size == len(line) {
				return b.event(p.lastID), nil
			}
			continue
		}
		if b.hasID {
			p.lastID = b.id
		}
		if b.says {
			return b.event(p.lastID), nil
		}
		b = block{}
	}
}

// readLine returns a line without its end: LF, CR LF or CR.
func (p *Parser) readLine(limit int) (string, error) {
	p.line = p.line[:0]
	for {
		c, err := p.from.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '\n' && p.afterCR {
			p.afterCR = false
			continue
		}
		p.afterCR = c == '\r'
		if c == '\n' || c == '\r' {
			return p.text(), nil
		}
		if len(p.line) >= limit {
			return "", errBlockTooLarge
		}
		p.line = append(p.line, c)
	}
}

func (p *Parser) text() string {
	line := string(p.line)
	if !p.begun {
		p.begun = true
		line = strings.TrimPrefix(line, "\ufeff")
	}
	if utf8.ValidString(line) {
		return line
	}
	// Replaces each ill-formed part with U+FFFD as the Encoding Standard says, and so never fails.
	replaced, _ := unicode.UTF8.NewDecoder().String(line)
	return replaced
}

// block gathers the fields of one block.
type block struct {
	id, name string
	data     strings.Builder
	comments []string
	retry    any
	size     int
	hasID    bool
	says     bool
}

func (b *block) take(line string) {
	b.size += len(line)
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "":
		b.comments = append(b.comments, value)
	case "event":
		b.name = value
	case "data":
		b.data.WriteString(value)
		b.data.WriteByte('\n')
	case "id":
		if strings.ContainsRune(value, 0) {
			return
		}
		b.id, b.hasID = value, true
	case "retry":
		retry, ok := digits(value)
		if !ok {
			return
		}
		b.retry = retry
	default:
		return
	}
	b.says = true
}

func (b *block) event(lastID string) Event {
	return Event{
		ID:          b.id,
		Name:        b.name,
		Data:        strings.TrimSuffix(b.data.String(), "\n"),
		Comment:     strings.Join(b.comments, "\n"),
		LastEventID: lastID,
		Retry:       b.retry,
		Message:     b.data.Len() > 0,
	}
}

// digits reads ASCII digits only; what no int64 can hold is no number of milliseconds either.
func digits(text string) (int64, bool) {
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	number, err := strconv.ParseInt(text, 10, 64)
	return number, err == nil
}
