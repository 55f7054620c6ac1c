// 'k6/net/grpc': messages are those of JSON in both directions, with bytes in base64.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { call } from './call.mjs';

class Client {
  load(folders, file) {
    if (!folders.some((folder) => existsSync(resolve(process.env.K6_FOLDER, folder, file)))) {
      throw new Error(`no ${file}`);
    }
  }

  connect(target, params) {
    this.target = target;
    this.plaintext = params.plaintext;
  }

  invoke(method, message, params) {
    return call({ target: this.target, plaintext: this.plaintext, method, message, metadata: params.metadata });
  }
}

export default { Client, StatusOK: 0 };
