// Load on a gateway by k6, over HTTP or gRPC: docs/load.md.
//
//     k6 run -e BABELCLIP_TOKEN=bck_… -e LOAD_PROFILE=spike -e LOAD_RATE=50 deploy/load/k6.js
//
// Requests start at the profile's rate whether or not others were answered. An answer is right when exactly the bad items
// have an error, and the one that they should have; k6 ends with status 99 if a threshold was crossed.
import { check } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import grpc from 'k6/net/grpc';

const PROFILES = JSON.parse(open('./profiles.json'));
const TEXTS = JSON.parse(open('./texts.json'));
const NAMES = ['astronaut', 'cat', 'coffee', 'galaxies', 'retina', 'rocket'];
const INVISIBLE = '\u200b \u200b';

function number(name, fallback, least, most) {
  const given = __ENV[name] || String(fallback);
  const value = Number(given);
  if (!(value >= least && value <= most)) {
    throw new Error(`${name}=${given} is not allowed: a number from ${least} to ${most}`);
  }
  return value;
}

const url = (__ENV.BABELCLIP_URL || 'http://127.0.0.1:8000').replace(/\/+$/, '');
const [, scheme, target] = url.match(/^(https?|grpcs?):\/\/([^/]+.*)$/) || [];
if (!scheme) {
  throw new Error(`BABELCLIP_URL=${url} is no address: it must start with http://, https://, grpc:// or grpcs://`);
}
const overGrpc = scheme.startsWith('grpc');
const name = __ENV.LOAD_PROFILE || 'steady';
const profile = PROFILES[name];
if (!profile) {
  throw new Error(`LOAD_PROFILE=${name} is none of ${Object.keys(PROFILES).join(', ')}`);
}
const seconds = number('LOAD_SECONDS', profile.seconds, 1, 1e9);
const rate = number('LOAD_RATE', 10, 1, 1e9);
const items = Math.floor(number('LOAD_ITEMS', 1, 1, 1e9));
const imagesShare = number('LOAD_IMAGES_SHARE', 0.2, 0, 1);
const badShare = number('LOAD_BAD_SHARE', profile.bad, 0, 1);
const keys = (__ENV.LOAD_KEYS || __ENV.BABELCLIP_TOKEN || '').split(',').map((key) => key.trim()).filter(Boolean);
const folder = __ENV.LOAD_PHOTOGRAPHS || '../../export/photographs';
const photographs = NAMES.map((each) => open(`${folder}/${each}.jpg`, 'b'));
const whole = photographs.map((bytes) => encoding.b64encode(bytes));
const halves = photographs.map((bytes) => encoding.b64encode(bytes.slice(0, bytes.byteLength >> 1)));
const noImage = encoding.b64encode('this is no image');

const client = new grpc.Client();
if (overGrpc) {
  client.load(['../../gateway/rpc'], 'embedder.proto');
}

// k6 takes whole numbers: so many requests in a minute.
const perMinute = (share) => Math.max(1, Math.round(60 * rate * share));

export const options = {
  discardResponseBodies: false,
  scenarios: {
    [name]: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1m',
      startRate: perMinute(profile.points[0][1]),
      stages: profile.points.slice(1).map(([at, share], place) => ({
        target: perMinute(share),
        duration: `${Math.round(1000 * seconds * (at - profile.points[place][0]))}ms`,
      })),
      preAllocatedVUs: Math.ceil(2 * rate),
      maxVUs: Math.ceil(20 * rate),
    },
  },
  thresholds: {
    [overGrpc ? 'grpc_req_duration' : 'http_req_duration']: [`p(99)<=${number('LOAD_P99_MS', 1000, 1, 1e9)}`],
    checks: [`rate>=${1 - number('LOAD_ERRORS_SHARE', 0.001, 0, 1)}`],
    // Requests that this machine could not send in time.
    dropped_iterations: ['count==0'],
  },
};

const choice = (list) => list[Math.floor(Math.random() * list.length)];

// An item as [{text} or {image in base64}, the code that it must fail with or ''].
function item() {
  const image = Math.random() < imagesShare;
  if (Math.random() >= badShare) {
    return image ? [{ image: choice(whole) }, ''] : [{ text: choice(TEXTS) }, ''];
  }
  if (!image) {
    return [{ text: INVISIBLE }, 'empty_item'];
  }
  return Math.random() < 0.5 ? [{ image: noImage }, 'image_undecodable'] : [{ image: choice(halves) }, 'image_truncated'];
}

function right(codes, wanted) {
  return codes.length === wanted.length && codes.every((code, place) => code === wanted[place]);
}

function overHttp(given, wanted, key) {
  const body = { input: given, encoding_format: 'base64', errors: 'return' };
  if (__ENV.LOAD_MODEL) {
    body.model = __ENV.LOAD_MODEL;
  }
  const headers = { 'Content-Type': 'application/json' };
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  const response = http.post(`${url}/v1/embeddings`, JSON.stringify(body), { headers, timeout: '60s' });
  check(response, {
    'status is 200': (answer) => answer.status === 200,
    'the right items failed': (answer) => {
      if (answer.status !== 200) {
        return false;
      }
      const rows = answer.json('data');
      const codes = rows.map((row) => (row.error ? row.error.code : ''));
      return right(codes, wanted) && rows.every((row) => Boolean(row.embedding) !== Boolean(row.error));
    },
  });
}

let connected = false;

function overTheWire(given, wanted, key) {
  if (!connected) {
    client.connect(target, { plaintext: scheme === 'grpc', timeout: '60s' });
    connected = true;
  }
  const message = { items: given, model: __ENV.LOAD_MODEL || '' };
  const metadata = key ? { authorization: `Bearer ${key}` } : {};
  const response = client.invoke('babelclip.v1.Embedder/Embed', message, { metadata, timeout: '60s' });
  check(response, {
    'status is OK': (answer) => answer.status === grpc.StatusOK,
    'the right items failed': (answer) => {
      if (answer.status !== grpc.StatusOK) {
        return false;
      }
      const codes = wanted.map(() => '');
      (answer.message.errors || []).forEach((error) => {
        codes[error.index || 0] = error.code;
      });
      return right(codes, wanted);
    },
  });
}

export default function () {
  const made = Array.from({ length: items }, item);
  const wanted = made.map(([, code]) => code);
  const key = keys.length ? keys[exec.vu.idInTest % keys.length] : '';
  const given = made.map(([each]) => each);
  if (overGrpc) {
    overTheWire(given, wanted, key);
  } else {
    overHttp(given, wanted, key);
  }
}
