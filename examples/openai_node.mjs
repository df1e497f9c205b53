// A session of openai-node through the relay. Nothing but the base URL says that there is one:
//
//   OPENAI_API_KEY=... OPENAI_BASE_URL=https://relay.example:8090/v1 node openai_node.mjs
//
// The SDK speaks TLS only, so the relay needs --tls-cert, or something before it that ends TLS.
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const realtime = new OpenAIRealtimeWS({ model: process.env.MODEL ?? 'gpt-realtime' }, new OpenAI());
let answers = 3;

realtime.socket.on('open', () => realtime.send({ type: 'response.create' }));
realtime.on('response.done', (event) => {
  const { input_tokens, output_tokens } = event.response.usage;
  console.log(JSON.stringify({ response: event.response.id, input_tokens, output_tokens }));
  answers -= 1;
  if (answers) realtime.send({ type: 'response.create' });
  else realtime.close();
});
realtime.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
