import { describe, expect, test } from '@jest/globals';
import { proxyFor } from '../index.ts';

const proxies = { http_proxy: 'http://plain.test:3128', HTTPS_PROXY: 'secure.test:3129' };
const proxyOf = (url: string, environment: NodeJS.ProcessEnv = proxies) =>
  proxyFor(new URL(url), {}, environment)?.href;

describe('the proxy', () => {
  test('is that of the protocol', () => {
    expect(proxyOf('http://example.com')).toBe('http://plain.test:3128/');
    expect(proxyOf('https://example.com')).toBe('http://secure.test:3129/');
    expect(proxyOf('https://example.com', { HTTP_PROXY: 'http://plain.test' })).toBeUndefined();
    expect(proxyOf('https://example.com', {})).toBeUndefined();
    expect(proxyOf('https://example.com', { HTTPS_PROXY: ' ' })).toBeUndefined();
  });

  test.each(['localhost', 'api.localhost', '127.0.0.1:8080', '127.9.9.9', '[::1]:8080'])('is none for %s', (host) => {
    expect(proxyOf(`http://${host}`)).toBeUndefined();
  });

  test.each([
    ['10.0.0.0/8', '10.1.2.3:5000', true],
    ['example.com, 10.1.2.0/24 ,192.168.0.0/16', '10.1.2.3', true],
    ['10.1.3.0/24', '10.1.2.3', false],
    ['10.1.2.3', '10.1.2.3:5000', true],
    ['10.1.2.3:5000', '10.1.2.3:5000', true],
    ['10.1.2.3:5000', '10.1.2.3', false],
    ['fd00::/8', '[fd12::1]:5000', true],
    ['fd00::/8', '[fe80::1]', false],
    ['fd12:0::1', '[fd12::1]:5000', true],
    ['[fd12::1]:5000', '[fd12::1]:5000', true],
    ['[fd12::1]', '[fd12::1]:5000', true],
    ['10.0.0.0/8', 'ten.example', false],
    ['10.0.0.0/33,/8,10.0.0.0/', '10.1.2.3', false],
    ['', '10.1.2.3', false],
    ['Example.com', 'example.COM:5000', true],
    ['fd00::/8 fd12::1,example.com', 'example.com', true],
    ['example.com', 'registry.example.com', true],
    ['example.com', 'notexample.com', false],
    ['.example.com', 'registry.example.com', true],
    ['.example.com', 'example.com', true],
    ['.example.com', 'notexample.com', false],
    ['*.example.com', 'registry.example.com', true],
    ['example.com:5000', 'example.com:5000', true],
    ['example.com:443', 'example.com', true],
    ['example.com:5000', 'example.com', false],
    ['a.test *', 'example.com', true],
    [',,.,*.,:443', 'example.com', false],
  ])('NO_PROXY %j leaves %s alone: %s', (list, host, isExcluded) => {
    expect(proxyOf(`https://${host}`, { ...proxies, NO_PROXY: list }) === undefined).toBe(isExcluded);
  });
});
