/** Before each file of these tests: waits until the API server is built, for which no test's or hook's time would be enough. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

await promisify(execFile)('scripts/kube-apiserver.sh', { maxBuffer: 16 << 20 });
