package main

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// netHTTP is http.Get, which asks for gzip by itself and decodes.
func netHTTP(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	if !response.Uncompressed {
		return errors.New("it was not compressed")
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
