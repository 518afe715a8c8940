import fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorResponse, FieldCode, fieldText, readFields, writeFields } from '../../../src/wire/fields.js';
import { md5Hash, md5Response } from '../../../src/wire/md5.js';
import { readParameterStatus } from '../../../src/wire/parameter-status.js';

const seed = process.env.FC_SEED === undefined ? Date.now() : Number(process.env.FC_SEED);
console.log(`FC_SEED=${seed}`);

test('fields read and written again are the same bytes', () => {
  const field = fc.record({
    code: fc.integer({ min: 1, max: 255 }),
    value: fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes.map((byte) => byte || 1))),
  });
  fc.assert(
    fc.property(fc.array(field), (fields) => {
      const body = writeFields(fields);
      expect(writeFields(readFields(body))).toEqual(body);
      expect(readFields(body)).toHaveLength(fields.length);
    }),
    { seed },
  );
});

test('a body of random bytes gives the fields that are whole', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      readFields(Buffer.from(bytes));
    }),
    { seed, numRuns: 1000 },
  );
});

test('an error of our own has the fields of the server, in its order', () => {
  const raw = errorResponse({ severity: 'FATAL', code: '08006', message: 'no\0where', hint: 'look' });
  expect(raw[0]).toBe(0x45);
  expect(raw.readInt32BE(1)).toBe(raw.length - 1);
  const fields = readFields(raw.subarray(5));
  expect(fields.map((field) => String.fromCharCode(field.code)).join('')).toBe('SVCMH');
  expect(fieldText(fields, FieldCode.Message)).toBe('nowhere');
});

test('md5 as PostgreSQL computes it', () => {
  expect(md5Hash('user', 'secret')).toBe(md5Hash('user', Buffer.from('secret')));
  expect(md5Response(md5Hash('postgres', 'postgres'), Buffer.from([1, 2, 3, 4]))).toMatch(
    /^md5[0-9a-f]{32}$/,
  );
  // SELECT 'md5' || md5('postgres' || 'postgres')
  expect(md5Hash('postgres', 'postgres')).toBe('3175bce1d3201d16594cebf9d7eb3f9d');
});

test('ParameterStatus, whole and cut short', () => {
  const raw = Buffer.concat([Buffer.from([0x53, 0, 0, 0, 0]), Buffer.from('client_encoding\0LATIN1\0')]);
  expect(readParameterStatus(raw, 0, raw.length)).toEqual({ name: 'client_encoding', value: 'LATIN1' });
  expect(readParameterStatus(raw, 0, raw.length - 1)).toBeNull();
  expect(readParameterStatus(raw, 0, 8)).toBeNull();
});
