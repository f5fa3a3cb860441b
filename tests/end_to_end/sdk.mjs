// The official JavaScript SDK as a program: it does what it is told on its command line, and prints what it hears.
//
//   node sdk.mjs NODE_MODULES URL {"tokens": […], "channel": "tasks", "returns": 3, "calls": [[method, data], …]}
//
// "returns": so often it leaves the channel and comes back, at once.

const [modules, url, given] = process.argv.slice(2);
const { tokens = [], channel, returns = 0, calls = [] } = JSON.parse(given);
const { Centrifuge } = await import(`${modules}/centrifuge/build/index.mjs`);

const say = (...what) => console.log(JSON.stringify(what));
const getToken = async () => {
  say("asked for a token");
  return tokens.shift();
};

const client = new Centrifuge(url, tokens.length ? { getToken } : {});
client.on("connecting", ({ code, reason }) => say("connecting", code, reason));
client.on("connected", ({ client }) => say("connected", client));
client.on("disconnected", ({ code, reason }) => say("disconnected", code, reason));
client.on("error", ({ error }) => say("error", error.code, error.message));

if (channel) {
  const subscription = client.newSubscription(channel, { recoverable: true });
  subscription.on("subscribed", ({ wasRecovering, recovered }) => say("subscribed", wasRecovering, recovered));
  subscription.on("unsubscribed", ({ code, reason }) => say("unsubscribed", code, reason));
  subscription.on("publication", ({ data, offset }) => say("publication", offset, data.id, data.state));
  subscription.on("error", ({ error }) => say("error", error.code, error.message));
  subscription.subscribe();
}

client.connect();
await client.ready();
for (let times = returns; times > 0; times -= 1) {
  const subscription = client.getSubscription(channel);
  subscription.unsubscribe();
  subscription.subscribe();
}
for (const [method, data] of calls) {
  try {
    say("answer", method, (await client.rpc(method, data)).data);
  } catch ({ code, message }) {
    say("refused", method, code, message);
  }
}

if (tokens.length) {
  // What may be submitted is what the token in use says: the second one lets all be.
  while (!(await client.rpc("registry", {})).data.tasks.length);
  say("the second token is in use");
}
