// Plain is what drctl is measured against: a client that does nothing but send the requests, as
// fast as the API server answers. It keeps no plan, compares nothing and restores nothing.
//
//	plain create -in-flight 64 objects.jsonl   POST each line's body to its path
//	plain list -limit 500 -namespace NS        list every kind that can be listed, got and created
//
// The server, its certificate and a token come from DRCTL_BENCH_SERVER, _CA and _TOKEN.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type object struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body"`
}

type cluster struct {
	server, token string
	client        *http.Client
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("plain: create or list")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	inFlight := flags.Int("in-flight", 32, "requests at once")
	limit := flags.Int("limit", 500, "objects a page")
	namespace := flags.String("namespace", "", "list namespaced kinds in this namespace")
	if err := flags.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	c := connect(*inFlight)
	switch os.Args[1] {
	case "create":
		c.create(flags.Arg(0), *inFlight)
	case "list":
		c.list(*namespace, *limit, *inFlight)
	default:
		log.Fatalf("plain: no mode %q", os.Args[1])
	}
}

func connect(connections int) *cluster {
	authority, err := os.ReadFile(os.Getenv("DRCTL_BENCH_CA"))
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	// HTTP/1.1 with one connection a request in flight: measured faster than one HTTP/2 connection.
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
	}
	return &cluster{os.Getenv("DRCTL_BENCH_SERVER"), os.Getenv("DRCTL_BENCH_TOKEN"), &http.Client{Transport: transport}}
}

func (c *cluster) do(method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, answer)
	}
	return answer, err
}

func (c *cluster) create(file string, inFlight int) {
	objects := read(file)
	var next, failed atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range inFlight {
		workers.Go(func() {
			for {
				at := int(next.Add(1)) - 1
				if at >= len(objects) {
					return
				}
				if _, err := c.do("POST", objects[at].Path, objects[at].Body); err != nil {
					if failed.Add(1) == 1 {
						log.Print(err)
					}
				}
			}
		})
	}
	workers.Wait()
	report(len(objects)-int(failed.Load()), time.Since(began), map[string]any{"in_flight": inFlight, "failed": failed.Load()})
}

func read(file string) []object {
	opened, err := os.Open(file)
	if err != nil {
		log.Fatal(err)
	}
	defer opened.Close()
	var objects []object
	lines := bufio.NewScanner(opened)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var each object
		if err := json.Unmarshal(lines.Bytes(), &each); err != nil {
			log.Fatal(err)
		}
		objects = append(objects, each)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	return objects
}

func (c *cluster) list(namespace string, limit, inFlight int) {
	kinds := c.kinds(namespace)
	var bytesRead, objects atomic.Int64
	queue := make(chan string, len(kinds))
	for _, kind := range kinds {
		queue <- kind
	}
	close(queue)
	var workers sync.WaitGroup
	began := time.Now()
	for range inFlight {
		workers.Go(func() {
			for path := range queue {
				read, items := c.listOne(path, limit)
				bytesRead.Add(read)
				objects.Add(items)
			}
		})
	}
	workers.Wait()
	report(int(objects.Load()), time.Since(began), map[string]any{"kinds": len(kinds), "bytes": bytesRead.Load(), "in_flight": inFlight})
}

func (c *cluster) listOne(path string, limit int) (read, items int64) {
	next := ""
	for {
		query := url.Values{"limit": {fmt.Sprint(limit)}}
		if next != "" {
			query.Set("continue", next)
		}
		answer, err := c.do("GET", path+"?"+query.Encode(), nil)
		if err != nil {
			log.Fatal(err)
		}
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			log.Fatal(err)
		}
		read, items, next = read+int64(len(answer)), items+int64(len(page.Items)), page.Metadata.Continue
		if next == "" {
			return read, items
		}
	}
}

// kinds are the list paths of every kind that can be listed, got and created, at its preferred version.
func (c *cluster) kinds(namespace string) []string {
	var groups struct {
		Groups []struct {
			PreferredVersion struct {
				GroupVersion string `json:"groupVersion"`
			} `json:"preferredVersion"`
		} `json:"groups"`
	}
	c.read("/apis", &groups)
	roots := []string{"/api/v1"}
	for _, group := range groups.Groups {
		roots = append(roots, "/apis/"+group.PreferredVersion.GroupVersion)
	}
	var paths []string
	for _, root := range roots {
		var resources struct {
			Resources []struct {
				Name       string   `json:"name"`
				Namespaced bool     `json:"namespaced"`
				Verbs      []string `json:"verbs"`
			} `json:"resources"`
		}
		c.read(root, &resources)
		for _, each := range resources.Resources {
			kept := slices.Contains(each.Verbs, "list") && slices.Contains(each.Verbs, "get") && slices.Contains(each.Verbs, "create")
			if kept && each.Namespaced && namespace != "" {
				paths = append(paths, root+"/namespaces/"+namespace+"/"+each.Name)
			} else if kept {
				paths = append(paths, root+"/"+each.Name)
			}
		}
	}
	return paths
}

func (c *cluster) read(path string, into any) {
	answer, err := c.do("GET", path, nil)
	if err == nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func report(objects int, took time.Duration, more map[string]any) {
	more["objects"], more["seconds"], more["rate"] = objects, took.Seconds(), float64(objects)/took.Seconds()
	json.NewEncoder(os.Stdout).Encode(more)
}
