/**
 * The least that a proxy on Node's sockets can do: what comes from one side is written to the other, with
 * back-pressure, and nothing is looked at. What it takes beyond PgBouncer is Node's, not ours.
 *
 * Arguments: port of the server. Prints the port that it listens on.
 */
import { connect, createServer } from 'node:net';

const upstream = Number(process.argv[2]);

function carry(from, to) {
  from.on('data', (chunk) => {
    if (!to.write(chunk)) from.pause();
  });
  to.on('drain', () => from.resume());
  from.on('end', () => to.end());
  from.on('error', () => {});
  from.on('close', () => to.destroy());
}

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const target = connect({ port: upstream, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  carry(client, target);
  carry(target, client);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
