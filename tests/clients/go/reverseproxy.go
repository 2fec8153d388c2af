package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// reverseProxy is a client that does not ask for gzip, behind a proxy that does, and decodes: what httputil.ReverseProxy
// does for each request without Accept-Encoding.
func reverseProxy(target string) error {
	upstream, err := url.Parse(target)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	origin := url.URL{Scheme: upstream.Scheme, Host: upstream.Host}
	go http.Serve(listener, httputil.NewSingleHostReverseProxy(&origin))

	upstream.Host = listener.Addr().String()
	plain := http.Client{Transport: &http.Transport{DisableCompression: true}}
	response, err := plain.Get(upstream.String())
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
