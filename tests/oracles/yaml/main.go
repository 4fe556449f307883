// Reads JSON objects {"yaml": base64} from its input and prints what sigs.k8s.io/yaml makes of each, one a line:
// {"json": value} or {"error": text}, and "strict": text where only strict reading fails (a key that is there twice).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/yaml"
)

type asked struct{ YAML []byte }

type answer struct {
	JSON   json.RawMessage `json:"json,omitempty"`
	Error  string          `json:"error,omitempty"`
	Strict string          `json:"strict,omitempty"`
}

func read(text []byte) (found answer) {
	defer func() {
		if wrong := recover(); wrong != nil {
			found = answer{Error: fmt.Sprint("panic: ", wrong)}
		}
	}()
	value, err := yaml.YAMLToJSON(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	if _, err := yaml.YAMLToJSONStrict(text); err != nil {
		return answer{JSON: value, Strict: err.Error()}
	}
	return answer{JSON: value}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var text asked
		if err := in.Decode(&text); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		line, err := json.Marshal(read(text.YAML))
		if err != nil {
			panic(err)
		}
		out.Write(append(line, '\n'))
	}
}
