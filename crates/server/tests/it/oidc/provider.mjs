// A real provider of OpenID Connect. It says where it is, then does what each line of its input says: which token it forges, and
// what it answers instead. Arguments: where its package is, its port, what it is like (`info`: claims are not in tokens; `post`:
// clients show their secrets in bodies), and, for TLS, the files of a certificate and its key.

import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, port, like, certificate, privateKey] = process.argv.slice(2);
console.warn = () => {};
console.info = () => {};
const { Provider } = await import(pathToFileURL(path.join(folder, 'node_modules/oidc-provider/lib/index.js')));

const pair = (kid, alg) => {
  const kind = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] }[alg];
  const { privateKey } = crypto.generateKeyPairSync(...kind);
  return { kid, alg, privateKey, jwk: { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } };
};
const keys = [pair('rs', 'RS256'), pair('es', 'ES256'), pair('ed', 'EdDSA'), pair('ps', 'PS256')];
const another = pair('another', 'RS256');
const published = ({ jwk: { kty, n, e, kid, alg, use } }) => ({ kty, n, e, kid, alg, use });

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decoded = (part) => JSON.parse(Buffer.from(part, 'base64url'));
const signed = (header, claims, key) => {
  const text = `${encoded(header)}.${encoded(claims)}`;
  return `${text}.${crypto.sign('sha256', Buffer.from(text), key).toString('base64url')}`;
};

const SECRET = 'the secret of the client';
const forgeries = {
  issuer: ({ header, claims }) => signed(header, { ...claims, iss: 'https://evil.example' }, keys[0].privateKey),
  audience: ({ header, claims }) => signed(header, { ...claims, aud: 'other' }, keys[0].privateKey),
  audiences: ({ header, claims }) => signed(header, { ...claims, aud: [claims.aud, 'other'] }, keys[0].privateKey),
  party: ({ header, claims }) => signed(header, { ...claims, azp: 'other' }, keys[0].privateKey),
  nonce: ({ header, claims }) => signed(header, { ...claims, nonce: 'another' }, keys[0].privateKey),
  'no nonce': ({ header, claims: { nonce, ...claims } }) => signed(header, claims, keys[0].privateKey),
  expiry: ({ header, claims }) => signed(header, { ...claims, exp: claims.iat - 3_600 }, keys[0].privateKey),
  key: ({ header, claims }) => signed(header, claims, another.privateKey),
  kid: ({ header, claims }) => signed({ ...header, kid: 'nobody' }, claims, another.privateKey),
  none: ({ claims }) => `${encoded({ alg: 'none' })}.${encoded(claims)}.`,
  unsigned: ({ header, claims }) => `${encoded(header)}.${encoded(claims)}.`,
  changed: ({ header, claims, signature }) => `${encoded(header)}.${encoded({ ...claims, roles: ['admin'] })}.${signature}`,
  'shared secret': ({ claims }) => {
    const text = `${encoded({ alg: 'HS256' })}.${encoded(claims)}`;
    return `${text}.${crypto.createHmac('sha256', SECRET).update(text).digest('base64url')}`;
  },
  'public key as secret': ({ header, claims }) => {
    const text = `${encoded({ ...header, alg: 'HS256' })}.${encoded(claims)}`;
    const key = crypto.createPublicKey(keys[0].privateKey).export({ type: 'spki', format: 'pem' });
    return `${text}.${crypto.createHmac('sha256', key).update(text).digest('base64url')}`;
  },
  nothing: () => undefined,
  // No forgery: the provider has a new key.
  rotated: ({ header, claims }) => signed({ ...header, kid: another.kid }, claims, another.privateKey),
};
const instead = {
  broken: (ctx) => { ctx.type = 'json'; ctx.body = '{"id_token": '; },
  large: (ctx) => { ctx.type = 'json'; ctx.body = `{"x": "${'a'.repeat(600 * 1024)}"}`; },
  redirect: (ctx) => { ctx.status = 307; ctx.set('location', `${ctx.origin}/elsewhere`); },
  failing: (ctx) => { ctx.status = 500; ctx.body = 'oh no'; },
};
// What was last told, and what was asked.
let told = '';
let asked = [];

const people = {
  ann: { email: 'ann@example.com', email_verified: true, roles: ['read', 'admin'] },
  ray: { email: 'ray@example.com', email_verified: true, roles: 'read', team: { role: 'desk' } },
  nora: { email: 'nora@example.com', email_verified: true, roles: ['ingest', 'owner'] },
  una: { email: 'una@example.com', preferred_username: 'una.d', roles: ['read'] },
  mallory: { email: 'ann@example.com', email_verified: false, roles: ['admin'] },
};
const client = (id, more) => ({
  client_id: id,
  client_secret: SECRET,
  redirect_uris: ['http://tollgate.test/console/sign-in/oidc/callback'],
  ...more,
});

const answer = (request, response) => handle(request, response);
let handle;
const server = certificate
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(privateKey) }, answer)
  : http.createServer(answer);
server.listen(Number(port), '127.0.0.1', () => {
  const issuer = `${certificate ? 'https://localhost' : 'http://127.0.0.1'}:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('tollgate', {}),
      client('es', { id_token_signed_response_alg: 'ES256' }),
      ...(like === 'post' ? [] : [client('ed', { id_token_signed_response_alg: 'EdDSA', token_endpoint_auth_method: 'none', client_secret: undefined })]),
      client('ps', { id_token_signed_response_alg: 'PS256' }),
    ],
    clientAuthMethods: like === 'post' ? ['client_secret_post'] : ['client_secret_basic', 'none'],
    clientDefaults: { token_endpoint_auth_method: like === 'post' ? 'client_secret_post' : 'client_secret_basic' },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username', 'roles', 'team'] },
    conformIdTokenClaims: like === 'info',
    cookies: { keys: ['for tests'] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, roles: ['manage'], ...people[id] }) }),
    jwks: { keys: keys.map(({ jwk }) => jwk) },
    pkce: { required: () => true },
    ttl: { AccessToken: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  });
  provider.use(async (ctx, next) => {
    asked.push(ctx.path);
    if (told.startsWith(`${ctx.path} `)) {
      return instead[told.slice(ctx.path.length + 1)](ctx);
    }
    await next();
    if (ctx.path === '/token' && ctx.body?.id_token && told in forgeries) {
      const [header, claims, signature] = ctx.body.id_token.split('.');
      ctx.body = { ...ctx.body, id_token: forgeries[told]({ header: decoded(header), claims: decoded(claims), signature }) };
    }
    if (ctx.path === '/jwks' && told === 'rotated') {
      ctx.body = { keys: [...ctx.body.keys, published(another)] };
    }
    if (ctx.path === '/me' && told === 'another person') {
      ctx.body = { ...ctx.body, sub: 'ann' };
    }
    if (ctx.path === '/.well-known/openid-configuration' && told.startsWith('names ')) {
      const [name, url] = told.slice('names '.length).split('=');
      ctx.body = { ...ctx.body, [name]: url };
    }
    return undefined;
  });
  handle = provider.callback();
  console.log(issuer);
});

// Each line is answered by the paths that were asked for since the last one.
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  told = line;
  console.log(JSON.stringify(asked));
  asked = [];
}).on('close', () => process.exit(0));
