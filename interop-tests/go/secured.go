package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

// secured is how franz-go connects with TLS, where the environment says so: CLIENT_TLS_CA is the file of who is trusted,
// CLIENT_TLS_CERT and CLIENT_TLS_KEY are its own.
func secured() []kgo.Opt {
	ca := os.Getenv("CLIENT_TLS_CA")
	if ca == "" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	check(err)
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		check(fmt.Errorf("%s has no certificate", ca))
	}
	if file := os.Getenv("CLIENT_TLS_CERT"); file != "" {
		own, err := tls.LoadX509KeyPair(file, os.Getenv("CLIENT_TLS_KEY"))
		check(err)
		config.Certificates = []tls.Certificate{own}
	}
	return []kgo.Opt{kgo.DialTLSConfig(config)}
}
