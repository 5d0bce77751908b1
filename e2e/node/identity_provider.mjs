// An OpenID provider for tests: panva's oidc-provider, which is certified, with a client, and people by their first names.
//
// Usage: node identity_provider.mjs FOLDER PORT REDIRECT_URI SECRET
// FOLDER holds node_modules with oidc-provider. It prints `ready` when it listens.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port, redirectUri, secret] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/package.json`));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

// Subject to what is told of the person.
const people = {
  ann: { preferred_username: 'ann', email: 'ann@example.com', email_verified: true, groups: ['people', 'data-admins'] },
  ben: { preferred_username: 'ben', email: 'ben@example.com', email_verified: true, groups: ['people'] },
  cyd: { preferred_username: 'cyd', email: 'cyd@example.com', email_verified: true, groups: ['guests'] },
  // A name that a local user of the installation has.
  eve: { preferred_username: 'fleet', email: 'eve@example.com', email_verified: true, groups: ['data-admins'] },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: 'windlass', client_secret: secret, redirect_uris: [redirectUri] }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
  findAccount: (_context, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  pkce: { required: () => true },
  cookies: { keys: ['only for tests'] },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
