// Command k6 is k6 with the module "k6/x/sse" built in.
//
// # Layout
//
//   - main.go: k6's own command
//   - sse/parser.go: the bytes of an event stream become events
//   - sse/module.go: what a script imports
//   - sse/params.go: what a script passes to open
//   - sse/open.go: one request, its answer and its figures
//   - sse/client.go: the events of the answer reach the script's handlers
package main

import (
	"go.k6.io/k6/cmd"

	_ "fanfare.example/k6/sse"
)

func main() {
	cmd.Execute()
}
