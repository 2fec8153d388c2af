package main

import (
	"log"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

// tmaxmax/go-sse comes back by itself.
func tmaxmax(url string) error {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	client := sse.Client{OnRetry: func(err error, in time.Duration) { log.Printf("it comes back in %s after: %v", in, err) }}
	connection := client.NewConnection(request)
	connection.SubscribeToAll(func(event sse.Event) {
		show(event.Type, event.LastEventID, event.Data)
	})
	return connection.Connect()
}
