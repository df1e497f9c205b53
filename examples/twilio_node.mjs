// Joins the media streams of Twilio to Realtime sessions, which go through the relay:
//
//   OPENAI_API_KEY=... RELAY_URL=wss://relay.example:8090 PORT=8081 node twilio_node.mjs
//
// The relay puts each call under its own id if it was started with REALTIME_SPEND_BAGGAGE_KEYS=call.
import { WebSocket, WebSocketServer } from 'ws';

const { OPENAI_API_KEY, RELAY_URL, PORT = '8081', MODEL = 'gpt-realtime' } = process.env;
if (!OPENAI_API_KEY || !RELAY_URL) throw new Error('set OPENAI_API_KEY and RELAY_URL');
const format = { type: 'audio/pcmu' };
const session = {
  type: 'realtime',
  audio: { input: { format, turn_detection: { type: 'server_vad' } }, output: { format } },
};

function bridged(twilio, { streamSid, start }) {
  const realtime = new WebSocket(`${RELAY_URL}/v1/realtime?model=${MODEL}`, {
    headers: { Authorization: `Bearer ${OPENAI_API_KEY}`, baggage: `call=${start.callSid}` },
  });
  realtime.on('open', () => realtime.send(JSON.stringify({ type: 'session.update', session })));
  realtime.on('message', (data) => {
    const event = JSON.parse(data);
    if (event.type === 'response.output_audio.delta') {
      twilio.send(JSON.stringify({ event: 'media', streamSid, media: { payload: event.delta } }));
    } else if (event.type === 'input_audio_buffer.speech_started') {
      twilio.send(JSON.stringify({ event: 'clear', streamSid }));
    }
  });
  realtime.on('close', () => twilio.close());
  realtime.on('error', (error) => console.error(error.message));
  return realtime;
}

const server = new WebSocketServer({ port: Number(PORT), host: '127.0.0.1' });
server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}`));
server.on('connection', (twilio) => {
  let realtime;
  twilio.on('message', (text) => {
    const event = JSON.parse(text);
    if (event.event === 'start') realtime = bridged(twilio, event);
    else if (event.event === 'stop') realtime?.close();
    else if (event.event === 'media' && realtime?.readyState === WebSocket.OPEN) {
      realtime.send(JSON.stringify({ type: 'input_audio_buffer.append', audio: event.media.payload }));
    }
  });
  twilio.on('close', () => realtime?.close());
});
