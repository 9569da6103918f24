// The lengths a PMI-1 server advertises, and those its clients enforce.
//
// A client reads lines of at most 1023 bytes; a longer reply desynchronises it for good. It lowers the value length
// itself when name, key and value together would not fit in a line, and with an odd value length it miscounts the
// pieces of long blobs. So names get little, values get the rest, and all of it fits and is even.

/** The longest line a client can read, newline included. */
export const maxReplyBytes = 1023;

export type PmiMaxes = { readonly kvsname: number; readonly key: number; readonly value: number };

const lineBytes = 1024;
const wordsBytes = 30; // what clients count for the words of a request
const keyMax = 64;
const kvsnameMin = 48;

export function maxesOf(kvsname: string): PmiMaxes {
  const needed = kvsname.length + 1;
  const kvsnameMax = Math.max(kvsnameMin, needed + (needed % 2));
  const value = lineBytes - wordsBytes - keyMax - kvsnameMax;
  if (value < 256 || !/^[!-~]+$/.test(kvsname) || kvsname.includes('=')) {
    throw new Error(
      `MUSTER_KVSNAME_INVALID: key-value space name ${JSON.stringify(kvsname)}: expected 1 to 673 printable characters without '='`,
    );
  }
  return { kvsname: kvsnameMax, key: keyMax, value };
}
