// Stock libraries and decoders of Go: stock-clients <name> <url>.
//
// The libraries print one line of JSON for each message that they hand over, the decoders what they decode.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
)

var programs = map[string]func(url string) error{
	"r3labs":        r3labs,
	"tmaxmax":       tmaxmax,
	"launchdarkly":  launchdarkly,
	"net-http":      netHTTP,
	"reverse-proxy": reverseProxy,
}

func main() {
	if len(os.Args) != 3 || programs[os.Args[1]] == nil {
		log.Fatal("usage: stock-clients <name> <url>")
	}
	if err := programs[os.Args[1]](os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func show(kind, id, data string) {
	line, err := json.Marshal(map[string]string{"type": kind, "id": id, "data": data})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
