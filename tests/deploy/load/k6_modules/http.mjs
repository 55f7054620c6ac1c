// 'k6/http'
import { call } from './call.mjs';

export default {
  post(url, body, params) {
    const { status, body: text } = call({ url, body, headers: params.headers });
    return { status, body: text, json: (path) => JSON.parse(text)[path] };
  },
};
