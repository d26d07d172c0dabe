import { OciError } from '../error.ts';

/** What an image runs on, in Go's terms (GOOS, GOARCH), as in the OCI image index spec ("platform"). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Variant of the CPU: `v7` for 32-bit ARM, `v2` to `v4` for amd64. `arm64` without one means v8. */
  readonly variant?: string;
}

const ARCHITECTURE_ALIASES: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ['x86_64', ['amd64']],
  ['x86-64', ['amd64']],
  ['x64', ['amd64']],
  ['i386', ['386']],
  ['ia32', ['386']],
  ['aarch64', ['arm64']],
  ['armhf', ['arm', 'v7']],
  ['armel', ['arm', 'v6']],
]);

/** The architectures that Go supports on Linux (`go tool dist list`), by the names that images use. */
const ARCHITECTURES: ReadonlySet<string> = new Set([
  '386',
  'amd64',
  'arm',
  'arm64',
  'loong64',
  'mips',
  'mips64',
  'mips64le',
  'mipsle',
  'ppc64',
  'ppc64le',
  'riscv64',
  's390x',
]);

/** Go's names for values of Node's `process.arch`, where they differ and no alias above covers them. */
const HOST_ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['loong64', 'loong64'],
  ['ppc64', 'ppc64le'],
]);

/**
 * Reads `linux/arm64`, `linux/arm/v7`, or the architecture alone (`arm64`). Aliases such as `x86_64` are accepted. A bare
 * architecture must be a known one; after `linux/` any name may match an index (the spec lists Go's names, and forbids no others).
 *
 * @throws OciError `invalid_platform`, also for systems other than Linux, whose images hold no Linux root filesystem
 */
export function parsePlatform(text: string): Platform {
  const parts = text.trim().toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9][a-z0-9_.-]*$/.test(part))) {
    throw new OciError(
      'invalid_platform',
      `invalid platform ${JSON.stringify(text.slice(0, 64))}: write it as os/architecture[/variant], such as linux/amd64 or linux/arm/v7`,
    );
  }
  const [first = '', second, variant] = parts;
  if (second === undefined && first === 'linux') return hostPlatform();
  const platform = normalizePlatform(
    second === undefined ? { os: 'linux', architecture: first } : { os: first, architecture: second, variant },
  );
  if (second === undefined && !ARCHITECTURES.has(platform.architecture)) {
    throw new OciError(
      'invalid_platform',
      `invalid platform ${JSON.stringify(text)}: there is no such architecture; write it as os/architecture[/variant], such as linux/amd64 or linux/arm/v7`,
    );
  }
  if (platform.os !== 'linux') {
    throw new OciError('invalid_platform', `platform ${text} is not supported: only images for linux can be pulled`);
  }
  return platform;
}

/** The platform of images that run on this machine's processor; always Linux, which is what a sandbox runs. */
export function hostPlatform(): Platform {
  const architecture = HOST_ARCHITECTURES.get(process.arch) ?? process.arch;
  return normalizePlatform({ os: 'linux', architecture });
}

/** `linux/arm/v7`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** The one spelling of a platform: aliases resolved, a variant that the architecture implies removed (for `arm`: added). */
export function normalizePlatform(platform: Platform): Platform {
  const [architecture, impliedVariant] = ARCHITECTURE_ALIASES.get(platform.architecture.toLowerCase()) ?? [
    platform.architecture.toLowerCase(),
  ];
  const os = platform.os.toLowerCase();
  const variant = normalizeVariant(architecture, platform.variant?.toLowerCase() || impliedVariant);
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

function normalizeVariant(architecture: string, given: string | undefined): string | undefined {
  const variant = given !== undefined && /^[0-9]/.test(given) ? `v${given}` : given;
  if (architecture === 'arm') return variant ?? 'v7';
  if (architecture === 'arm64' && variant === 'v8') return undefined;
  if (architecture === 'amd64' && variant === 'v1') return undefined;
  return variant;
}

/**
 * How far an image's platform is from the one that is wanted: 0 is the same, undefined does not run there. A processor runs
 * images made for older variants of its own architecture.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  const want = normalizePlatform(wanted);
  const have = normalizePlatform(offered);
  if (want.os !== have.os || want.architecture !== have.architecture) return undefined;
  // Not all are numbered: `power9`, `rva22u64`.
  if (want.variant === have.variant) return 0;
  const distance = variantLevel(want) - variantLevel(have);
  return Number.isNaN(distance) || distance < 0 ? undefined : distance;
}

function variantLevel({ architecture, variant }: Platform): number {
  if (variant !== undefined) return Number(/^v([0-9]+(?:\.[0-9]+)?)$/.exec(variant)?.[1]);
  return architecture === 'arm64' ? 8 : 1;
}
