/** Of the project; the build writes it in. */
export const version = process.env.BHATTI_VERSION ?? 'development';
