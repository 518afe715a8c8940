import { describe, expect, test } from 'vitest';
import { type HostPattern, hostPattern } from '../../../src/config/host-pattern.js';
import type { Network } from '../../../src/http/connect.js';
import { exchange } from '../../../src/http/exchange.js';
import { HttpFailure } from '../../../src/http/failure.js';

/** What names lead to. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'public.example': ['93.184.216.34'],
  'public.example.': ['93.184.216.34'],
  'api.public.example': ['93.184.216.34'],
  'a.b.c.public.example': ['93.184.216.34'],
  'evilpublic.example': ['93.184.216.34'],
  'public.example.evil.example': ['93.184.216.34'],
  'v6.example': ['2606:2800:220:1:248:1893:25c8:1946'],
  'xn--bcher-kva.example': ['93.184.216.34'],
  'private.example': ['10.0.0.5'],
  'loop.example': ['127.0.0.1', '::1'],
  'zero.example': ['0.0.0.0'],
  'metadata.example': ['169.254.169.254'],
  'ula.example': ['fd00:ec2::254'],
  'zone.example': ['fe80::1%eth0'],
  'mapped.example': ['::ffff:169.254.169.254'],
  'mapped-public.example': ['::ffff:93.184.216.34'],
  'nat64.example': ['64:ff9b::a9fe:a9fe'],
  'local-nat64.example': ['64:ff9b:1::a00:5'],
  '6to4.example': ['2002:a00:5::1'],
  'teredo.example': ['2001:0:4136:e378:8000:63bf:3fff:fdd2'],
  'mixed.example': ['10.0.0.5', '93.184.216.34', 'fe80::1'],
  'nothing.example': [],
  localhost: ['127.0.0.1'],
  'localhost.': ['127.0.0.1'],
  'metadata.google.internal': ['169.254.169.254'],
  '10.0.0.5.nip.example': ['10.0.0.5'],
  'under_score.example': ['93.184.216.34'],
};
const ALLOW = [
  'public.example',
  '*.public.example',
  '*.example:8443',
  'xn--bcher-kva.example',
  'mixed.example',
  'private.example',
  'loop.example',
].map((text) => hostPattern(text) as HostPattern);

/** The verdict in a word, or the address and port that are connected to. */
async function verdict(url: string, mode: 'off' | 'allowlist' | 'all'): Promise<string> {
  const network: Network = {
    resolve: async (name) => {
      const found = NAMES[name];
      if (found === undefined) throw new Error(`unknown name ${name}`);
      return found;
    },
    connect: async (addresses, port) => {
      throw new Error(`reached ${addresses.join(' or ')} port ${port}`);
    },
  };
  const request = { url, method: 'GET', headers: [], body: null, timeoutSeconds: 5, role: 'r' } as const;
  const rules = { mode, allow: ALLOW, blockPrivate: true, maxResponseBytes: 1024, ca: undefined };
  const failure = await exchange(request, rules, network, new AbortController().signal).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(failure instanceof HttpFailure)) throw new Error('no verdict', { cause: failure });
  const { message } = failure;
  const reached = / - reached (.*)$/.exec(message);
  if (reached !== null) return reached[1]!;
  for (const [pattern, word] of [
    [/^Blocked: unsupported URL scheme '.*'\. Only http and https are allowed\.$/s, 'scheme'],
    [/^Blocked: outbound HTTP requests are disabled\./, 'off'],
    [/^Blocked: unable to extract hostname from URL\.$/, 'no host'],
    [
      /^Blocked: requests to bare IP addresses are not permitted\. Use a hostname from the allowed endpoint list instead\.$/,
      'bare IP',
    ],
    [
      /^Blocked: '.*' is not in the allowed endpoint list\. Only requests to hosts in http\.allow are permitted\.$/,
      'not listed',
    ],
    [
      /^Blocked: the resolved IP address for '.*' is in a restricted range\. df\.http\(\) cannot access private or internal network addresses\.$/,
      'restricted',
    ],
    [/ - unknown name /, 'unknown name'],
  ] as const) {
    if (pattern.test(message)) return word;
  }
  throw new Error(`what is this: ${message}`);
}

const PUBLIC = '93.184.216.34 port 80';
const SECURE = '93.184.216.34 port 443';
const LONG = `${'a'.repeat(63)}.`.repeat(5);

describe('each URL has its verdict', () => {
  // URL, with http.mode = allowlist, with http.mode = all; http.block_private is on
  test.each([
    // schemes
    ['http://public.example/', PUBLIC, PUBLIC],
    ['https://public.example/', SECURE, SECURE],
    ['HTTPS://PUBLIC.EXAMPLE/', SECURE, SECURE],
    ['ftp://public.example/', 'scheme', 'scheme'],
    ['file:///etc/passwd', 'scheme', 'scheme'],
    ['gopher://public.example:70/_x', 'scheme', 'scheme'],
    ['unix:///var/run/docker.sock', 'scheme', 'scheme'],
    ['data:text/plain,x', 'scheme', 'scheme'],
    ['javascript:alert(1)', 'scheme', 'scheme'],
    ['//public.example/', 'scheme', 'scheme'],
    ['public.example', 'scheme', 'scheme'],
    ['http:public.example', 'scheme', 'scheme'],
    ['http:/public.example', 'scheme', 'scheme'],
    ['http:\\\\public.example\\', 'scheme', 'scheme'],
    ['', 'scheme', 'scheme'],
    // the authority
    ['http://user:secret@public.example/', PUBLIC, PUBLIC],
    ['http://public.example@169.254.169.254/', 'bare IP', 'restricted'],
    ['http://public.example:80@10.0.0.5/', 'bare IP', 'restricted'],
    ['http://a@b@public.example/', PUBLIC, PUBLIC],
    ['http://169.254.169.254#@public.example/', 'bare IP', 'restricted'],
    ['http://169.254.169.254?@public.example/', 'bare IP', 'restricted'],
    ['http://169.254.169.254\\@public.example/', 'bare IP', 'restricted'],
    ['http://public.example\\@169.254.169.254/', PUBLIC, PUBLIC],
    ['http://public.example?@169.254.169.254/', PUBLIC, PUBLIC],
    ['http://public.example:8080/', '93.184.216.34 port 8080', '93.184.216.34 port 8080'],
    [
      'http://v6.example:8443/',
      '2606:2800:220:1:248:1893:25c8:1946 port 8443',
      '2606:2800:220:1:248:1893:25c8:1946 port 8443',
    ],
    ['http://v6.example:8444/', 'not listed', '2606:2800:220:1:248:1893:25c8:1946 port 8444'],
    ['http://public.example:0/', '93.184.216.34 port 0', '93.184.216.34 port 0'],
    ['http://public.example:99999/', 'no host', 'no host'],
    ['http://public.example:x/', 'no host', 'no host'],
    ['http://', 'no host', 'no host'],
    ['http:///', 'no host', 'no host'],
    ['http:///public.example/', PUBLIC, PUBLIC],
    ['http://:80/', 'no host', 'no host'],
    ['http://user@/', 'no host', 'no host'],
    ['http://?x', 'no host', 'no host'],
    // IPv4, however it is written
    ['http://93.184.216.34/', 'bare IP', PUBLIC],
    ['http://127.0.0.1/', 'bare IP', 'restricted'],
    ['http://127.1/', 'bare IP', 'restricted'],
    ['http://2130706433/', 'bare IP', 'restricted'],
    ['http://0x7f000001/', 'bare IP', 'restricted'],
    ['http://0x7f.0.0.0x1/', 'bare IP', 'restricted'],
    ['http://0177.0.0.1/', 'bare IP', 'restricted'],
    ['http://017700000001/', 'bare IP', 'restricted'],
    ['http://127.0.0.1./', 'bare IP', 'restricted'],
    ['http://0/', 'bare IP', 'restricted'],
    ['http://4294967296/', 'no host', 'no host'],
    ['http://256.1.1.1/', 'no host', 'no host'],
    ['http://0xa9fea9fe/latest/meta-data/', 'bare IP', 'restricted'],
    ['http://%31%32%37.0.0.1/', 'bare IP', 'restricted'],
    ['http://１２７.０.０.１/', 'bare IP', 'restricted'],
    ['http://①②⑦.⓪.⓪.①/', 'bare IP', 'restricted'],
    ['http://127。0。0。1/', 'bare IP', 'restricted'],
    ['http://168.63.129.16/', 'bare IP', 'restricted'],
    ['http://100.100.100.200/', 'bare IP', 'restricted'],
    ['http://192.0.0.192/', 'bare IP', 'restricted'],
    ['http://255.255.255.255/', 'bare IP', 'restricted'],
    // IPv6
    ['http://[2606:2800:220:1:248:1893:25c8:1946]/', 'bare IP', '2606:2800:220:1:248:1893:25c8:1946 port 80'],
    ['http://[::1]/', 'bare IP', 'restricted'],
    ['http://[0:0:0:0:0:0:0:1]/', 'bare IP', 'restricted'],
    ['http://[::]/', 'bare IP', 'restricted'],
    ['http://[::127.0.0.1]/', 'bare IP', 'restricted'],
    ['http://[::ffff:127.0.0.1]/', 'bare IP', 'restricted'],
    ['http://[::ffff:5db8:d822]/', 'bare IP', 'restricted'],
    ['http://[::ffff:0:127.0.0.1]/', 'bare IP', 'restricted'],
    ['http://[64:ff9b::169.254.169.254]/', 'bare IP', 'restricted'],
    ['http://[2002:7f00:1::]/', 'bare IP', 'restricted'],
    ['http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/', 'bare IP', 'restricted'],
    ['http://[fe80::1]/', 'bare IP', 'restricted'],
    ['http://[fe80::1%25eth0]/', 'no host', 'no host'],
    ['http://[fd00:ec2::254]/', 'bare IP', 'restricted'],
    ['http://[fec0::1]/', 'bare IP', 'restricted'],
    ['http://[ff02::1]/', 'bare IP', 'restricted'],
    ['http://[2001:db8::1]/', 'bare IP', 'restricted'],
    ['http://::1/', 'no host', 'no host'],
    ['http://[::1/', 'no host', 'no host'],
    // names and the list
    ['http://api.public.example/', PUBLIC, PUBLIC],
    ['http://a.b.c.public.example/', PUBLIC, PUBLIC],
    ['http://evilpublic.example/', 'not listed', PUBLIC],
    ['http://public.example.evil.example/', 'not listed', PUBLIC],
    ['http://public.example./', 'not listed', PUBLIC],
    ['http://bücher.example/', PUBLIC, PUBLIC],
    ['http://xn--bcher-kva.example/', PUBLIC, PUBLIC],
    ['http://ｐｕｂｌｉｃ.example/', PUBLIC, PUBLIC],
    ['http://public。example/', PUBLIC, PUBLIC],
    ['http://pub\u00adlic.example/', PUBLIC, PUBLIC],
    ['http://рublic.example/', 'not listed', 'unknown name'], // with a Cyrillic р
    ['http://under_score.example/', 'not listed', PUBLIC],
    [`http://${LONG}example/`, 'not listed', 'unknown name'],
    ['http://xn--/', 'no host', 'no host'],
    // white space and control characters
    [' http://public.example/', 'scheme', 'scheme'],
    ['\thttp://public.example/', 'scheme', 'scheme'],
    ['ht\ntp://public.example/', 'scheme', 'scheme'],
    ['http://public.example/ ', PUBLIC, PUBLIC],
    ['http://pub\tlic.exa\nmple/', PUBLIC, PUBLIC],
    ['http://127.0.\n0.1/', 'bare IP', 'restricted'],
    ['http://public .example/', 'no host', 'no host'],
    ['http://public.example\0.evil.example/', 'no host', 'no host'],
    ['http://public.example%00.evil.example/', 'no host', 'no host'],
    ['http://public%2eexample/', PUBLIC, PUBLIC],
    ['http://public.example%2f@evil.example/', 'not listed', 'unknown name'],
    // where names lead to
    ['http://private.example/', 'restricted', 'restricted'],
    ['http://loop.example/', 'restricted', 'restricted'],
    ['http://mixed.example/', PUBLIC, PUBLIC],
    ['http://zero.example/', 'not listed', 'restricted'],
    ['http://metadata.example/', 'not listed', 'restricted'],
    ['http://ula.example/', 'not listed', 'restricted'],
    ['http://zone.example/', 'not listed', 'restricted'],
    ['http://mapped.example/', 'not listed', 'restricted'],
    ['http://mapped-public.example/', 'not listed', 'restricted'],
    ['http://nat64.example/', 'not listed', 'restricted'],
    ['http://local-nat64.example/', 'not listed', 'restricted'],
    ['http://6to4.example/', 'not listed', 'restricted'],
    ['http://teredo.example/', 'not listed', 'restricted'],
    ['http://nothing.example/', 'not listed', 'restricted'],
    ['http://localhost/', 'not listed', 'restricted'],
    ['http://localhost./', 'not listed', 'restricted'],
    ['http://metadata.google.internal/', 'not listed', 'restricted'],
    ['http://10.0.0.5.nip.example/', 'not listed', 'restricted'],
  ])('%j', async (url, listed, all) => {
    expect(await verdict(url, 'allowlist')).toBe(listed);
    expect(await verdict(url, 'all')).toBe(all);
    expect(await verdict(url, 'off')).toBe(listed === 'scheme' ? 'scheme' : 'off');
  });
});
