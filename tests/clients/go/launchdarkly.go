package main

import (
	"log"

	"github.com/launchdarkly/eventsource"
)

// LaunchDarkly's eventsource comes back by itself.
func launchdarkly(url string) error {
	stream, err := eventsource.SubscribeWithURL(url,
		eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
			log.Print("reconnecting after: ", err)
			return eventsource.StreamErrorHandlerResult{}
		}))
	if err != nil {
		return err
	}
	for event := range stream.Events {
		show(event.Event(), event.Id(), event.Data())
	}
	return nil
}
