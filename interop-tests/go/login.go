package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// login is how franz-go logs in, where the environment says so: CLIENT_SASL is a mechanism, or TOKEN (a delegation token by
// SCRAM-SHA-256), CLIENT_USER and CLIENT_PASSWORD what it is done with; the password of OAUTHBEARER is its token.
func login() []kgo.Opt {
	mechanism, user, password := os.Getenv("CLIENT_SASL"), os.Getenv("CLIENT_USER"), os.Getenv("CLIENT_PASSWORD")
	switch mechanism {
	case "":
		return nil
	case "PLAIN":
		return []kgo.Opt{kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())}
	case "SCRAM-SHA-256":
		return []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())}
	case "SCRAM-SHA-512":
		return []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())}
	case "TOKEN":
		return []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password, IsToken: true}.AsSha256Mechanism())}
	case "OAUTHBEARER":
		return []kgo.Opt{kgo.SASL(oauth.Oauth(func(context.Context) (oauth.Auth, error) { return oauth.Auth{Token: password}, nil }))}
	}
	check(fmt.Errorf("no such mechanism: %s", mechanism))
	return nil
}
