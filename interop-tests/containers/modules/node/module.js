// The Kafka module of Testcontainers for Node, as its users write it: node module.js KIND IMAGE.
const { KafkaContainer } = require("@testcontainers/kafka");
const { Kafka, logLevel } = require("kafkajs");

async function roundTrip(server) {
  const kafka = new Kafka({ brokers: [server], logLevel: logLevel.ERROR });
  const sent = Array.from({ length: 10 }, (_, i) => `record ${i}`);
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: "records", numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka.producer();
  await producer.connect();
  for (const value of sent) {
    await producer.send({ topic: "records", messages: [{ value }] });
  }
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: "readers" });
  await consumer.connect();
  await consumer.subscribe({ topic: "records", fromBeginning: true });
  const got = [];
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`consumed ${got}`)), 30000);
    consumer.run({
      eachMessage: async ({ message }) => {
        got.push(message.value.toString());
        if (got.length === 10) {
          clearTimeout(timer);
          resolve();
        }
      },
    });
  });
  await consumer.disconnect();
  if (got.join() !== sent.join()) {
    throw new Error(`consumed ${got}`);
  }
  console.log(`round trip of 10 records by ${server}`);
}

async function main(kind, image) {
  let container = new KafkaContainer(image);
  if (kind === "kraft") {
    container = container.withKraft();
  }
  const started = await container.start();
  try {
    await roundTrip(`${started.getHost()}:${started.getMappedPort(9093)}`);
  } finally {
    await started.stop();
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
