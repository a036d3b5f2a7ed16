"""What the interop tests stand on: brokers to test, Kafka's tools in a warm JVM, waiting, processes."""
