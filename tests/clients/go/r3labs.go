package main

import (
	"log"
	"time"

	"github.com/r3labs/sse/v2"
)

// r3labs/sse comes back by itself after a broken stream. A clean end makes SubscribeRaw return without an error; the
// client keeps its last id, so it is called again. A stream that breaks behind a heartbeat gives an empty message.
func r3labs(url string) error {
	client := sse.NewClient(url)
	for {
		err := client.SubscribeRaw(func(event *sse.Event) {
			if len(event.Data) == 0 {
				return
			}
			show(string(event.Event), string(event.ID), string(event.Data))
		})
		log.Print("reconnecting after: ", err)
		time.Sleep(time.Second)
	}
}
